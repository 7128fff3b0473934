// SPDX-License-Identifier: MIT
/* preload/misuse_shapes.c - see misuse_shapes.h. */
#include "misuse_shapes.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "support/plain.h"

PLAIN_FUNCTION(void, free_sized, (void *block, size_t size_bytes), (block, size_bytes))
PLAIN_FUNCTION(void, free_aligned_sized, (void *block, size_t alignment_bytes, size_t size_bytes),
               (block, alignment_bytes, size_bytes))
// operator delete(block), delete(block, size), delete[](block, size, alignment)
PLAIN_FUNCTION(void, _ZdlPv, (void *block), (block))
PLAIN_FUNCTION(void, _ZdlPvm, (void *block, size_t size_bytes), (block, size_bytes))
PLAIN_FUNCTION(void, _ZdaPvmSt11align_val_t,
               (void *block, size_t size_bytes, size_t alignment_bytes),
               (block, size_bytes, alignment_bytes))
PLAIN_FUNCTION(hh_status, hh_heap_create, (const hh_heap_options *options, hh_heap **heap),
               (options, heap))
PLAIN_FUNCTION(void *, hh_heap_alloc, (hh_heap * heap, size_t size_bytes), (heap, size_bytes))

// The address that is misused, through a volatile so that the compiler does not see the misuse.
static void *volatile target;
static char static_bytes[64];

static void *
make_freed(size_t size_bytes)
{
    target = malloc(size_bytes);
    memset(target, 1, size_bytes);
    free(target);
    return target;
}

// Not inlined: the compiler shall not follow where the address comes from.
__attribute__((noinline)) static void *
make_live(size_t size_bytes)
{
    target = malloc(size_bytes);
    return target;
}

static void *
thread_free(void *block)
{
    free(block);
    return NULL;
}

static void *
thread_malloc(void *size)
{
    return malloc((uintptr_t)size);
}

static void *
run_in_thread(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    void *result;
    check(pthread_create(&thread, NULL, function, argument) == 0);
    check(pthread_join(thread, &result) == 0);
    return result;
}

// ---- Double frees

static void
double_free_small(void)
{
    free(make_freed(48));
}

static void
double_free_medium(void)
{
    free(make_freed(20000));
}

static void
double_free_large(void)
{
    free(make_freed(1 << 20));
}

static void
double_free_huge(void)
{
    free(make_freed(64 << 20));
}

static void
double_free_with_others_between(void)
{
    void *others[100];
    for (int i = 0; i < 100; i++)
        others[i] = malloc(48);
    target = others[50];
    for (int i = 0; i < 100; i++)
        free(others[i]);
    free(target);
}

static void
double_free_second_by_other_thread(void)
{
    run_in_thread(thread_free, make_freed(48));
}

static void
double_free_both_by_other_thread(void)
{
    target = malloc(48);
    run_in_thread(thread_free, target);
    run_in_thread(thread_free, target);
}

static void
double_free_after_owner_ended(void)
{
    target = run_in_thread(thread_malloc, (void *)48);
    free(target);
    free(target);
}

static void
double_free_in_fork_child(void)
{
    make_freed(48);
    pid_t child = fork();
    if (child == 0) {
        free(target);
        _exit(0);
    }
    int status;
    check(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        raise(WTERMSIG(status));
}

// ---- Addresses that are no block

static void
free_interior_small(void)
{
    free((char *)make_live(256) + 16);
}

static void
free_interior_odd(void)
{
    free((char *)make_live(256) + 1);
}

static void
free_interior_large(void)
{
    free((char *)make_live(5 << 20) + 4096);
}

static void
free_never_allocated_slot(void)
{
    char *block = malloc(48);
    hh_block_info info;
    for (char *slot = block + 48; slot < block + 48 * 200; slot += 48) {
        plain_owns(slot, &info);
        if (info.heap != NULL && info.base == slot && !info.live)
            target = slot; // the last of them: nobody had it yet
    }
    check(target != NULL);
    free(target);
}

static void
free_stack(void)
{
    char bytes[64];
    target = bytes;
    free(target);
}

static void
free_static(void)
{
    target = static_bytes;
    free(target);
}

static void
free_code(void)
{
    target = (void *)(uintptr_t)&free_static;
    free(target);
}

static void
free_own_mapping(void)
{
    target = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free((char *)target + 4096);
}

static void
free_unmapped_mapping(void)
{
    target = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(target, 8192);
    free(target);
}

static void
free_low_address(void)
{
    target = (void *)(uintptr_t)16;
    free(target);
}

static void
free_non_canonical(void)
{
    target = (void *)(uintptr_t)0x8000123456789ab0;
    free(target);
}

static void
free_kernel_address(void)
{
    target = (void *)(uintptr_t)0xffffffff81000000;
    free(target);
}

static void
free_last_address(void)
{
    target = (void *)UINTPTR_MAX;
    free(target);
}

static void
free_block_of_other_heap(void)
{
    hh_heap *heap;
    check(plain_hh_heap_create(NULL, &heap) == HH_OK);
    target = plain_hh_heap_alloc(heap, 48);
    check(target != NULL);
    free(target);
}

// ---- realloc and malloc_usable_size

static void
realloc_freed(void)
{
    make_freed(48);
    errno = 0;
    check(realloc(target, 100) == NULL);
    check(errno == EINVAL);
}

static void
realloc_freed_to_zero(void)
{
    make_freed(48);
    errno = 0;
    check(realloc(target, 0) == NULL);
    check(errno == EINVAL);
}

static void
realloc_foreign(void)
{
    target = static_bytes;
    errno = 0;
    check(realloc(target, 100) == NULL);
    check(errno == EINVAL);
}

static void
reallocarray_interior(void)
{
    void *volatile inside = (char *)make_live(256) + 32;
    errno = 0;
    check(reallocarray(inside, 10, 10) == NULL);
    check(errno == EINVAL);
}

static void
usable_size_of_freed(void)
{
    make_freed(48);
    check(malloc_usable_size(target) == 0);
}

static void
usable_size_of_interior(void)
{
    check(malloc_usable_size((char *)make_live(256) + 32) == 0);
}

static void
usable_size_of_foreign(void)
{
    target = static_bytes;
    check(malloc_usable_size(target) == 0);
}

// ---- Frees that name a size or an alignment

static void
free_sized_too_small(void)
{
    plain_free_sized(target = malloc(1000), 10);
}

static void
free_sized_too_large(void)
{
    plain_free_sized(target = malloc(10), 1000);
}

static void
free_sized_of_large_block_too_large(void)
{
    plain_free_sized(target = malloc(3 << 20), 4 << 20);
}

static void
free_sized_of_freed(void)
{
    plain_free_sized(make_freed(48), 48);
}

static void
free_aligned_sized_misaligned(void)
{
    void *block = NULL;
    do
        block = malloc(48);
    while ((uintptr_t)block % 64 == 0);
    plain_free_aligned_sized(target = block, 64, 48);
}

static void
free_aligned_sized_too_large(void)
{
    plain_free_aligned_sized(target = aligned_alloc(64, 64), 64, 5000);
}

static void
delete_freed(void)
{
    plain__ZdlPv(make_freed(48));
}

static void
delete_sized_mismatch(void)
{
    plain__ZdlPvm(target = malloc(1000), 8);
}

static void
delete_array_aligned_freed(void)
{
    make_freed(256);
    plain__ZdaPvmSt11align_val_t(target, 256, 16);
}

#define SHAPE(act, function, why)                                                                  \
    {                                                                                              \
#act, act, function, why, 0                                                                \
    }

const struct misuse_shape misuse_shapes[] = {
    SHAPE(double_free_small, "free", HH_BAD_NOT_LIVE),
    SHAPE(double_free_medium, "free", HH_BAD_NOT_LIVE),
    SHAPE(double_free_large, "free", 0),
    SHAPE(double_free_huge, "free", 0),
    SHAPE(double_free_with_others_between, "free", HH_BAD_NOT_LIVE),
    SHAPE(double_free_second_by_other_thread, "free", HH_BAD_NOT_LIVE),
    SHAPE(double_free_both_by_other_thread, "free", HH_BAD_NOT_LIVE),
    SHAPE(double_free_after_owner_ended, "free", HH_BAD_NOT_LIVE),
    {"double_free_in_fork_child", double_free_in_fork_child, "free", HH_BAD_NOT_LIVE, 1},
    SHAPE(free_interior_small, "free", HH_BAD_INTERIOR),
    SHAPE(free_interior_odd, "free", HH_BAD_INTERIOR),
    SHAPE(free_interior_large, "free", HH_BAD_INTERIOR),
    SHAPE(free_never_allocated_slot, "free", HH_BAD_NOT_LIVE),
    SHAPE(free_stack, "free", HH_BAD_FOREIGN),
    SHAPE(free_static, "free", HH_BAD_FOREIGN),
    SHAPE(free_code, "free", HH_BAD_FOREIGN),
    SHAPE(free_own_mapping, "free", HH_BAD_FOREIGN),
    SHAPE(free_unmapped_mapping, "free", HH_BAD_FOREIGN),
    SHAPE(free_low_address, "free", HH_BAD_FOREIGN),
    SHAPE(free_non_canonical, "free", HH_BAD_FOREIGN),
    SHAPE(free_kernel_address, "free", HH_BAD_FOREIGN),
    SHAPE(free_last_address, "free", HH_BAD_FOREIGN),
    SHAPE(free_block_of_other_heap, "free", HH_BAD_OTHER_HEAP),
    SHAPE(realloc_freed, "realloc", HH_BAD_NOT_LIVE),
    SHAPE(realloc_freed_to_zero, "realloc", HH_BAD_NOT_LIVE),
    SHAPE(realloc_foreign, "realloc", HH_BAD_FOREIGN),
    SHAPE(reallocarray_interior, "reallocarray", HH_BAD_INTERIOR),
    SHAPE(usable_size_of_freed, "malloc_usable_size", HH_BAD_NOT_LIVE),
    SHAPE(usable_size_of_interior, "malloc_usable_size", HH_BAD_INTERIOR),
    SHAPE(usable_size_of_foreign, "malloc_usable_size", HH_BAD_FOREIGN),
    SHAPE(free_sized_too_small, "free_sized", HH_BAD_SIZE_MISMATCH),
    SHAPE(free_sized_too_large, "free_sized", HH_BAD_SIZE_MISMATCH),
    SHAPE(free_sized_of_large_block_too_large, "free_sized", HH_BAD_SIZE_MISMATCH),
    SHAPE(free_sized_of_freed, "free_sized", HH_BAD_NOT_LIVE),
    SHAPE(free_aligned_sized_misaligned, "free_aligned_sized", HH_BAD_ALIGNMENT_MISMATCH),
    SHAPE(free_aligned_sized_too_large, "free_aligned_sized", HH_BAD_SIZE_MISMATCH),
    SHAPE(delete_freed, "free", HH_BAD_NOT_LIVE),
    SHAPE(delete_sized_mismatch, "operator delete", HH_BAD_SIZE_MISMATCH),
    SHAPE(delete_array_aligned_freed, "operator delete[]", HH_BAD_NOT_LIVE),
};
const int misuse_shape_count = sizeof misuse_shapes / sizeof misuse_shapes[0];
