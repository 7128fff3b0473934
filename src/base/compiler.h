// SPDX-License-Identifier: MIT
/*
 * base/compiler.h - attributes and small language helpers.
 *
 * Layer: base. May include: nothing of ours.
 */
#ifndef HHI_BASE_COMPILER_H
#define HHI_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define hh_likely(x) __builtin_expect(!!(x), 1)
#define hh_unlikely(x) __builtin_expect(!!(x), 0)

// Code on the path of every call: always inlined, straight-line, in *_fast.h only.
#define HH_FAST static inline __attribute__((always_inline))
// The cold twin of a fast function: never inlined, placed apart, same arguments.
#define HH_SLOW __attribute__((noinline, cold))
// The compiler may assume nothing about the variable's value any more. Between two uses of p[i] it
// makes both address the memory by p and i, instead of computing the address into a register.
#define HH_OPAQUE(variable) __asm__("" : "+r"(variable))
#define HH_NOINLINE __attribute__((noinline))
// Of a function that reads memory of the program as words, whatever they are: the frames of its
// stack. For the sanitizers those are variables of other functions.
#define HH_READS_ANYTHING __attribute__((no_sanitize("address", "thread")))
#define HH_NORETURN __attribute__((noreturn))
#define HH_PRINTF(format_index, first_index)                                                       \
    __attribute__((format(printf, format_index, first_index)))

// One thread-local word at a constant offset from the thread pointer: works under dlopen as long
// as the static TLS surplus has room for it, and costs one load.
#define HH_TLS_INITIAL_EXEC __thread __attribute__((tls_model("initial-exec")))

/*
 * Of small variables that every process uses at its start, and of all that the dynamic linker
 * relocates: with the few bytes of .data they lie in one page. No room for anything large here.
 */
#define HH_START_STATE __attribute__((section("hhi_start_state")))

#define HH_CACHE_LINE_BYTES 64

#define hh_container_of(pointer, type, member)                                                     \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#if defined(__SANITIZE_THREAD__)
#define HH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HH_TSAN 1
#endif
#endif
#ifndef HH_TSAN
#define HH_TSAN 0
#endif

#endif
