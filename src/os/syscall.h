// SPDX-License-Identifier: MIT
/*
 * os/syscall.h - calls into the kernel without libc: the result is what the kernel says, errno is
 * not involved.
 *
 * Layer: os. Included by os/ files only.
 */
#ifndef HHI_OS_SYSCALL_H
#define HHI_OS_SYSCALL_H

#include <sys/syscall.h>

#include "base/compiler.h"

#if defined(__x86_64__)
static inline long
hhi_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
static inline long
hhi_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}
#else
#error "hostheap runs on x86-64 and aarch64"
#endif

#define HHI_SYSCALL0(n) hhi_syscall((n), 0, 0, 0, 0, 0, 0)
#define HHI_SYSCALL1(n, a) hhi_syscall((n), (long)(a), 0, 0, 0, 0, 0)
#define HHI_SYSCALL2(n, a, b) hhi_syscall((n), (long)(a), (long)(b), 0, 0, 0, 0)
#define HHI_SYSCALL3(n, a, b, c) hhi_syscall((n), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define HHI_SYSCALL4(n, a, b, c, d)                                                                \
    hhi_syscall((n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define HHI_SYSCALL5(n, a, b, c, d, e)                                                             \
    hhi_syscall((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define HHI_SYSCALL6(n, a, b, c, d, e, f)                                                          \
    hhi_syscall((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#endif
