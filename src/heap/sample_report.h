// SPDX-License-Identifier: MIT
/*
 * heap/sample_report.h - what is said when a sampled block is misused.
 *
 * Layer: heap. May include: base, os, diag, heap/sample.h.
 *
 * A handler of SIGSEGV, installed when sampling is first switched on, reports faults in the pool
 * and then passes every signal on to the handler that was there before; to the default action if
 * there was none. A program that installs a handler of its own later takes its place, and decides
 * whether to pass faults on.
 *
 * Stacks are what looks like a return address among the words that sample.c noted: the word points
 * into executable memory, and a call instruction ends there. Old words that a frame left on the
 * stack may be among them.
 *
 * Thread rules: any thread, at any time; hhi_sample_history and the handler in signal handlers too.
 *
 * Memory ordering
 *   SR-1  reporting: the end of one report -> the next one: the buffer.
 */
#ifndef HHI_HEAP_SAMPLE_REPORT_H
#define HHI_HEAP_SAMPLE_REPORT_H

#include "base/compiler.h"

// Once, when the pool is there.
void hhi_sample_catch_faults(void);
// Lines about who allocated and who freed the sampled block near address; their length, 0 if none.
size_t hhi_sample_history(char *text, size_t capacity_bytes, const void *address);
// In the child of a fork: the thread that was reporting is not here.
void hhi_sample_report_reset(void);

#endif
