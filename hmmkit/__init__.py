# SPDX-License-Identifier: GPL-2.0-only
"""What a notebook imports: the mirror devices, memory to try them on, and ways to look.

Works on any machine that has ``/dev/hmm_dmirror0``: with the book's module, or with the test
driver of the kernel tree. Standard library only; ``hmmkit.figures`` alone needs matplotlib.

Where to begin:

- a device and memory for it: ``device``, ``buffer``; ``errors`` says what a refusal means
- other memory: ``kinds``, ``huge``, ``reserved``, ``swap``, ``child``; who holds on to it:
  ``holding``, ``longterm``, ``accesses``
- what a device may see: ``snapshot``; what a page table says: ``pagemap``, ``pagemap_fields``,
  ``frames``, ``place``, ``lifecycle``
- who owns which addresses: ``maps``, ``iomem``, ``addressmap``
- what happened: ``events``, ``rounds``, ``trace``, ``callers``, ``kmsg``, ``dyndbg``; why a page did
  not move: ``tell``, ``outcome``
- what the kernel and the driver count: ``counters``, ``accounting``, ``faults``, ``ram``; what it
  costs: ``cost``, ``workload``, ``instructions``, ``record``
- the driver as such: ``module``, ``uapi``, ``sourcemap``; the running kernel: ``kernelconfig``; the C
  library: ``libc``
- to show it: ``table``, ``path``, ``figures``
"""
