// SPDX-License-Identifier: GPL-2.0-only
/*
 * The code of the trace events, which the kernel's macros make out of trace.h.
 */
#define CREATE_TRACE_POINTS
#include "trace.h"
