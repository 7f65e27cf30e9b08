# SPDX-License-Identifier: GPL-2.0-only
"""What a notebook imports: the mirror devices, memory to try them on, and ways to look.

Works on any machine that has ``/dev/hmm_dmirror0``: with the book's module, or with the test
driver of the kernel tree. Standard library only; ``hmmkit.figures`` alone needs matplotlib.
"""
