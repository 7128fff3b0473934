// SPDX-License-Identifier: MIT
/*
 * diag/diag.h - messages to standard error from code that must not allocate.
 *
 * Layer: diag. May include: base, os.
 *
 * A message is formatted into a fixed buffer on the stack and written with one write(2). The
 * formatter knows %s %c %p %% and d, u, x with l, ll or z before; no field widths. It calls nothing
 * of stdio. A message that does not fit ends in "...".
 */
#ifndef HHI_DIAG_DIAG_H
#define HHI_DIAG_DIAG_H

#include <stdarg.h>

#include "base/compiler.h"

// Format into buffer (always NUL-terminated); returns the length written, cut to fit.
size_t hhi_diag_format(char *buffer, size_t capacity_bytes, const char *format, ...)
    HH_PRINTF(3, 4);
size_t hhi_diag_vformat(char *buffer, size_t capacity_bytes, const char *format, va_list arguments);

// "hostheap: <message>\n" to standard error.
void hhi_diag_report(const char *format, ...) HH_PRINTF(1, 2);

// Write text to standard error as it is; errno is kept, a failing write is given up.
void hhi_diag_write(const char *text, size_t length_bytes);

// Report, then end the process with SIGABRT. Never allocates, runs no atexit handlers.
HH_NORETURN void hhi_diag_fatal(const char *format, ...) HH_PRINTF(1, 2);

#endif
