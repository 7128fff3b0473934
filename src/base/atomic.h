// SPDX-License-Identifier: MIT
/*
 * base/atomic.h - atomic operations with the memory order in the name.
 *
 * Layer: base. May include: nothing of ours. The only file that includes <stdatomic.h>.
 *
 * The order is part of the name so that the whole set in use is visible to grep. Sequential
 * consistency appears where a store must be seen before a later load of another word: in the notify
 * protocol of remote frees (slab.h, ADR-0003), between the sweeper's end and its start (sweep.h), and in
 * guarded sections (guard.h), the only place with a fence: the thread sanitizer does not understand them.
 */
#ifndef HHI_BASE_ATOMIC_H
#define HHI_BASE_ATOMIC_H

#include <stdatomic.h>

#include "base/compiler.h"

/*
 * Where tests hold threads up at random (HH_PERTURB: tests/support/perturb.c), they do it before
 * each operation that another thread can tell. Nothing in products.
 */
#if defined(HH_PERTURB)
void hhi_perturb(void);
#define HH_AT(operation) (hhi_perturb(), operation)
#else
#define HH_AT(operation) operation
#endif

#define hh_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define hh_load_acquire(p) HH_AT(atomic_load_explicit((p), memory_order_acquire))
#define hh_load_seq_cst(p) HH_AT(atomic_load_explicit((p), memory_order_seq_cst))
#define hh_store_relaxed(p, v) HH_AT(atomic_store_explicit((p), (v), memory_order_relaxed))
#define hh_store_release(p, v) HH_AT(atomic_store_explicit((p), (v), memory_order_release))
#define hh_store_seq_cst(p, v) HH_AT(atomic_store_explicit((p), (v), memory_order_seq_cst))
#define hh_exchange_relaxed(p, v) HH_AT(atomic_exchange_explicit((p), (v), memory_order_relaxed))
#define hh_exchange_acquire(p, v) HH_AT(atomic_exchange_explicit((p), (v), memory_order_acquire))
#define hh_exchange_release(p, v) HH_AT(atomic_exchange_explicit((p), (v), memory_order_release))
#define hh_exchange_acq_rel(p, v) HH_AT(atomic_exchange_explicit((p), (v), memory_order_acq_rel))
#define hh_exchange_seq_cst(p, v) HH_AT(atomic_exchange_explicit((p), (v), memory_order_seq_cst))
#define hh_fetch_add_relaxed(p, v) HH_AT(atomic_fetch_add_explicit((p), (v), memory_order_relaxed))
#define hh_fetch_sub_relaxed(p, v) HH_AT(atomic_fetch_sub_explicit((p), (v), memory_order_relaxed))
#define hh_fetch_add_release(p, v) HH_AT(atomic_fetch_add_explicit((p), (v), memory_order_release))
#define hh_fetch_add_acq_rel(p, v) HH_AT(atomic_fetch_add_explicit((p), (v), memory_order_acq_rel))
#define hh_fetch_add_seq_cst(p, v) HH_AT(atomic_fetch_add_explicit((p), (v), memory_order_seq_cst))
#define hh_fetch_sub_release(p, v) HH_AT(atomic_fetch_sub_explicit((p), (v), memory_order_release))
#define hh_fetch_or_relaxed(p, v) HH_AT(atomic_fetch_or_explicit((p), (v), memory_order_relaxed))
#define hh_fetch_or_acquire(p, v) HH_AT(atomic_fetch_or_explicit((p), (v), memory_order_acquire))
#define hh_fetch_and_relaxed(p, v) HH_AT(atomic_fetch_and_explicit((p), (v), memory_order_relaxed))
#define hh_fetch_and_seq_cst(p, v) HH_AT(atomic_fetch_and_explicit((p), (v), memory_order_seq_cst))

// Compare and swap; on failure *expected holds what was read.
#define hh_cas_strong_relaxed(p, expected, v)                                                      \
    HH_AT(atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_relaxed,      \
                                                  memory_order_relaxed))
#define hh_cas_strong_acquire(p, expected, v)                                                      \
    HH_AT(atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acquire,      \
                                                  memory_order_relaxed))
#define hh_cas_strong_release(p, expected, v)                                                      \
    HH_AT(atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_release,      \
                                                  memory_order_relaxed))
#define hh_cas_strong_seq_cst(p, expected, v)                                                      \
    HH_AT(atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_seq_cst,      \
                                                  memory_order_relaxed))
#define hh_cas_weak_acq_rel(p, expected, v)                                                        \
    HH_AT(atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_acq_rel,        \
                                                memory_order_relaxed))
#define hh_cas_weak_release(p, expected, v)                                                        \
    HH_AT(atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_release,        \
                                                memory_order_relaxed))

/*
 * Whether *p equals value; relaxed, of 2 or 8 bytes. gcc does not compare with an atomic object in
 * place but loads it first; where free looks at three such words that is two instructions.
 */
#if defined(__x86_64__) && !HH_TSAN
#define hh_equals_relaxed(p, value)                                                                \
    __extension__({                                                                                \
        bool hh_equal_;                                                                            \
        __asm__("cmp %2, %1"                                                                       \
                : "=@ccz"(hh_equal_)                                                               \
                : "m"(*(p)), "r"((__typeof__(hh_load_relaxed(p)))(value)));                        \
        hh_equal_;                                                                                 \
    })
// Whether value is below *p, of 8 bytes.
#define hh_is_below_relaxed(p, value)                                                              \
    __extension__({                                                                                \
        bool hh_below_;                                                                            \
        __asm__("cmp %1, %2"                                                                       \
                : "=@ccb"(hh_below_)                                                               \
                : "m"(*(p)), "r"((__typeof__(hh_load_relaxed(p)))(value)));                        \
        hh_below_;                                                                                 \
    })
// The same with all ones, of 2 bytes: a constant that fits one byte of the instruction.
#define hh_is_ones_relaxed(p)                                                                      \
    __extension__({                                                                                \
        bool hh_equal_;                                                                            \
        __asm__("cmpw $-1, %1" : "=@ccz"(hh_equal_) : "m"(*(p)));                                  \
        hh_equal_;                                                                                 \
    })
#else
#define hh_equals_relaxed(p, value) (hh_load_relaxed(p) == (value))
#define hh_is_below_relaxed(p, value) ((value) < hh_load_relaxed(p))
#define hh_is_ones_relaxed(p) (hh_load_relaxed(p) == UINT16_MAX)
#endif

// Keeps the compiler, not the processor, from moving memory accesses across.
#define hh_compiler_barrier() atomic_signal_fence(memory_order_seq_cst)

/*
 * Directly after a read-modify-write: with it a full barrier, which even relaxed accesses do not pass.
 * No order of an operation says that much (C11 keeps a sequentially consistent one behind others of
 * its kind only); a locked instruction of x86 does. The thread sanitizer knows no fences.
 */
#if defined(__x86_64__) || HH_TSAN
#define hh_fence_after_rmw() hh_compiler_barrier()
#else
#define hh_fence_after_rmw() atomic_thread_fence(memory_order_seq_cst)
#endif

static inline void
hh_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
