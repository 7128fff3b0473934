// SPDX-License-Identifier: MIT
/*
 * override/override_new.c - operator new and delete, by their mangled names (Itanium C++ ABI).
 *
 * No C++ runtime is needed: what a failing operator new must call, std::get_new_handler and the
 * function that throws std::bad_alloc, is taken from the program's runtime if it has one. A runtime
 * that was loaded for a plug-in only is looked for by name. Exceptions pass through these functions
 * on the unwind tables that the compiler writes for C, too.
 *
 * The nothrow forms return NULL without calling the new handler: a handler may throw, and C can
 * not catch.
 *
 * A program may replace operator new(size) and operator delete(block) alone; by the standard the other
 * forms then end in its own. So the nothrow forms ask whether the plain one is this library's, and a
 * sized delete does before a block is refused: on the shortest path it frees what is exactly a block of
 * that size. The forms with an alignment do not ask.
 */
#include <dlfcn.h>

#include "diag/diag.h"
#include "heap/heap_fast.h"
#include "override/front.h"
#include "override/override.h"

typedef void (*new_handler)(void);

// std::get_new_handler(), std::__throw_bad_alloc(); absent in programs without a C++ runtime.
__attribute__((weak)) new_handler _ZSt15get_new_handlerv(void);
__attribute__((weak)) void _ZSt17__throw_bad_allocv(void);

// In a static program there is nothing to look in, and no need to link the loader for it.
#pragma weak dlopen
#pragma weak dlsym
#pragma weak dlclose

typedef void *(*new_function)(size_t size_bytes);
typedef void (*delete_function)(void *block);

// The plain forms as the program has them; and as they are here, under names that nobody replaces.
HH_OVERRIDE void *_Znwm(size_t size_bytes);
HH_OVERRIDE void *_Znam(size_t size_bytes);
void _ZdlPv(void *block);
void _ZdaPv(void *block);
#define NEW_OWN(target) __attribute__((visibility("hidden"), alias(#target)))
void *hhi_override_new(size_t size_bytes) NEW_OWN(_Znwm);
void *hhi_override_new_array(size_t size_bytes) NEW_OWN(_Znam);

// The program's operator if it is not this library's, else NULL. Opaque: to the compiler they are one.
HH_FAST new_function
new_replaced(new_function program, new_function own)
{
    HH_OPAQUE(program);
    return program == own ? NULL : program;
}

HH_FAST delete_function
delete_replaced(delete_function program)
{
    HH_OPAQUE(program);
    return program == hhi_override_free ? NULL : program;
}

typedef new_handler (*new_get_handler_function)(void);
typedef void (*new_throw_function)(void);

// A function of a C++ runtime that is loaded, but not in the program's global scope.
static void *
new_find_in_runtime(const char *name)
{
    static const char *const runtimes[] = {"libstdc++.so.6", "libc++.so.1", "libc++abi.so.1"};
    if (dlopen == NULL)
        return NULL;
    for (size_t i = 0; i < sizeof runtimes / sizeof runtimes[0]; i++) {
        void *runtime = dlopen(runtimes[i], RTLD_LAZY | RTLD_NOLOAD);
        void *function = runtime == NULL ? NULL : dlsym(runtime, name);
        if (function != NULL)
            return function; // the handle is kept: the runtime must stay while it throws
        if (runtime != NULL)
            dlclose(runtime);
    }
    return NULL;
}

static new_handler
new_current_handler(void)
{
    new_get_handler_function get = _ZSt15get_new_handlerv;
    if (get == NULL)
        get = (new_get_handler_function)new_find_in_runtime("_ZSt15get_new_handlerv");
    return get == NULL ? NULL : get();
}

HH_NORETURN static void
new_throw_bad_alloc(size_t size_bytes)
{
    new_throw_function throw_it = _ZSt17__throw_bad_allocv;
    if (throw_it == NULL)
        throw_it = (new_throw_function)new_find_in_runtime("_ZSt17__throw_bad_allocv");
    if (throw_it != NULL)
        throw_it();
    hhi_diag_fatal("operator new: no memory for %zu bytes, and no C++ runtime to throw",
                   size_bytes);
}

// As the standard wants it: call the handler until there is memory, throw when there is none.
HH_SLOW static void *
new_retry(size_t alignment_bytes, size_t size_bytes)
{
    for (;;) {
        new_handler handler = new_current_handler();
        if (handler == NULL)
            new_throw_bad_alloc(size_bytes);
        handler();
        void *block =
            alignment_bytes == 0 ? malloc(size_bytes) : memalign(alignment_bytes, size_bytes);
        if (block != NULL)
            return block;
    }
}

HH_SLOW static void *
new_slow(size_t size_bytes)
{
    void *block = hhi_malloc_slow(size_bytes);
    if (hh_unlikely(block == NULL))
        block = hhi_override_malloc_traced(size_bytes);
    return hh_likely(block != NULL) ? block : new_retry(0, size_bytes);
}

HH_NOINLINE static void *
new_refill(size_t size_bytes)
{
    return hhi_malloc_refill(size_bytes, new_slow);
}

HH_NOINLINE static void *
new_medium(size_t size_bytes)
{
    return hhi_malloc_medium(size_bytes, new_slow);
}

HH_FAST void *
new_aligned_throwing(size_t size_bytes, size_t alignment_bytes)
{
    void *block = memalign(alignment_bytes, size_bytes);
    return hh_likely(block != NULL) ? block : new_retry(alignment_bytes, size_bytes);
}

// A block that lies elsewhere than in this thread's small slabs. program: the plain form.
HH_FAST void
delete_sized_far(const char *function, void *block, size_t size_bytes, delete_function program)
{
    size_t granule = hhi_granule_of(block);
    if (hh_likely(hhi_granule_is_inside(granule) &&
                  hhi_front_free_elsewhere(block, hhi_record_of(granule), true, size_bytes)))
        return;
    program = delete_replaced(program);
    if (hh_unlikely(program != NULL))
        program(block);
    else
        hhi_override_free_sized(function, block, size_bytes);
}

HH_NOINLINE static void
delete_sized_elsewhere(void *block, size_t size_bytes)
{
    delete_sized_far("operator delete", block, size_bytes, _ZdlPv);
}

HH_NOINLINE static void
delete_array_sized_elsewhere(void *block, size_t size_bytes)
{
    delete_sized_far("operator delete[]", block, size_bytes, _ZdaPv);
}

// operator new(size)
HH_OVERRIDE void *
_Znwm(size_t size_bytes)
{
    return hhi_malloc_fast(size_bytes, new_medium, new_refill);
}

// operator new[](size)
HH_OVERRIDE void *
_Znam(size_t size_bytes)
{
    return hhi_malloc_fast(size_bytes, new_medium, new_refill);
}

// operator new(size, nothrow)
HH_OVERRIDE void *_ZnwmRKSt9nothrow_t(size_t size_bytes, const void *nothrow);
HH_OVERRIDE void *
_ZnwmRKSt9nothrow_t(size_t size_bytes, const void *nothrow)
{
    (void)nothrow;
    new_function program = new_replaced(_Znwm, hhi_override_new);
    if (hh_unlikely(program != NULL))
        return program(size_bytes);
    return hhi_malloc_fast(size_bytes, hhi_override_malloc_medium, hhi_override_malloc_refill);
}

// operator new[](size, nothrow)
HH_OVERRIDE void *_ZnamRKSt9nothrow_t(size_t size_bytes, const void *nothrow);
HH_OVERRIDE void *
_ZnamRKSt9nothrow_t(size_t size_bytes, const void *nothrow)
{
    (void)nothrow;
    new_function program = new_replaced(_Znam, hhi_override_new_array);
    if (hh_unlikely(program != NULL))
        return program(size_bytes);
    return hhi_malloc_fast(size_bytes, hhi_override_malloc_medium, hhi_override_malloc_refill);
}

// operator new(size, align)
HH_OVERRIDE void *_ZnwmSt11align_val_t(size_t size_bytes, size_t alignment_bytes);
HH_OVERRIDE void *
_ZnwmSt11align_val_t(size_t size_bytes, size_t alignment_bytes)
{
    return new_aligned_throwing(size_bytes, alignment_bytes);
}

// operator new[](size, align)
HH_OVERRIDE void *_ZnamSt11align_val_t(size_t size_bytes, size_t alignment_bytes);
HH_OVERRIDE void *
_ZnamSt11align_val_t(size_t size_bytes, size_t alignment_bytes)
{
    return new_aligned_throwing(size_bytes, alignment_bytes);
}

// operator new(size, align, nothrow)
HH_OVERRIDE void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size_bytes, size_t alignment_bytes,
                                                     const void *nothrow);
HH_OVERRIDE void *
_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size_bytes, size_t alignment_bytes, const void *nothrow)
{
    (void)nothrow;
    return memalign(alignment_bytes, size_bytes);
}

// operator new[](size, align, nothrow)
HH_OVERRIDE void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t size_bytes, size_t alignment_bytes,
                                                     const void *nothrow);
HH_OVERRIDE void *
_ZnamSt11align_val_tRKSt9nothrow_t(size_t size_bytes, size_t alignment_bytes, const void *nothrow)
{
    (void)nothrow;
    return memalign(alignment_bytes, size_bytes);
}

// operator delete(block, size)
HH_OVERRIDE void _ZdlPvm(void *block, size_t size_bytes);
HH_OVERRIDE void
_ZdlPvm(void *block, size_t size_bytes)
{
    if (hh_unlikely(!hhi_cache_free_checked(&hhi_self->main, block, true, size_bytes)))
        delete_sized_elsewhere(block, size_bytes);
}

// operator delete(block, align)
HH_OVERRIDE void _ZdlPvSt11align_val_t(void *block, size_t alignment_bytes);
HH_OVERRIDE void
_ZdlPvSt11align_val_t(void *block, size_t alignment_bytes)
{
    hhi_override_free_aligned("operator delete", block, alignment_bytes);
}

// operator delete(block, align, nothrow)
HH_OVERRIDE void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment_bytes,
                                                     const void *nothrow);
HH_OVERRIDE void
_ZdlPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment_bytes, const void *nothrow)
{
    (void)nothrow;
    hhi_override_free_aligned("operator delete", block, alignment_bytes);
}

// operator delete(block, size, align)
HH_OVERRIDE void _ZdlPvmSt11align_val_t(void *block, size_t size_bytes, size_t alignment_bytes);
HH_OVERRIDE void
_ZdlPvmSt11align_val_t(void *block, size_t size_bytes, size_t alignment_bytes)
{
    hhi_override_free_aligned_sized("operator delete", block, alignment_bytes, size_bytes);
}

// operator delete[](block, size)
HH_OVERRIDE void _ZdaPvm(void *block, size_t size_bytes);
HH_OVERRIDE void
_ZdaPvm(void *block, size_t size_bytes)
{
    if (hh_unlikely(!hhi_cache_free_checked(&hhi_self->main, block, true, size_bytes)))
        delete_array_sized_elsewhere(block, size_bytes);
}

// operator delete[](block, align)
HH_OVERRIDE void _ZdaPvSt11align_val_t(void *block, size_t alignment_bytes);
HH_OVERRIDE void
_ZdaPvSt11align_val_t(void *block, size_t alignment_bytes)
{
    hhi_override_free_aligned("operator delete[]", block, alignment_bytes);
}

// operator delete[](block, align, nothrow)
HH_OVERRIDE void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment_bytes,
                                                     const void *nothrow);
HH_OVERRIDE void
_ZdaPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment_bytes, const void *nothrow)
{
    (void)nothrow;
    hhi_override_free_aligned("operator delete[]", block, alignment_bytes);
}

// operator delete[](block, size, align)
HH_OVERRIDE void _ZdaPvmSt11align_val_t(void *block, size_t size_bytes, size_t alignment_bytes);
HH_OVERRIDE void
_ZdaPvmSt11align_val_t(void *block, size_t size_bytes, size_t alignment_bytes)
{
    hhi_override_free_aligned_sized("operator delete[]", block, alignment_bytes, size_bytes);
}
