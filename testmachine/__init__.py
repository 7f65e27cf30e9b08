# SPDX-License-Identifier: GPL-2.0-only
"""The embedded test machine: a Linux with HMM in QEMU, ready in seconds, without KVM too.

Knows QEMU, kernels and Jupyter, and of HMM nothing but the name of the module.
"""
