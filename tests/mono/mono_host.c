// SPDX-License-Identifier: MIT
/*
 * tests/mono/mono_host.c - a host program that embeds Mono with its memory on hostheap.
 *
 *     mono_host Workload.exe [THREADS ROUNDS]
 *
 * Runs the program, prints what went over the interface and the heap's statistics, and ends with 0
 * if the program did and every call was answered as the contract says.
 */

#include <inttypes.h>
#include <stdio.h>

#include <mono/jit/jit.h>
#include <mono/metadata/assembly.h>
#include <mono/metadata/mono-config.h>

#include "mono_heap.h"
#include "mono_virtual.h"

struct call_name {
    int call;
    const char *name;
};

static const struct call_name heap_calls[] = {
    {MONO_MALLOC, "malloc  -> Alloc"},
    {MONO_CALLOC, "calloc  -> hh_heap_calloc"},
    {MONO_REALLOC, "realloc -> hh_heap_realloc"},
    {MONO_FREE, "free    -> Free"},
    {MONO_FREE_NULL, "free(NULL)"},
    {MONO_FREE_LIBC, "free of libc's blocks, handed on"},
    {MONO_REALLOC_LIBC, "realloc of libc's blocks, handed on"},
    {MONO_NO_MEMORY, "answered with NULL"},
    {MONO_FAULT, "bad frees inside the heap"},
};

static const struct call_name virtual_calls[] = {
    {MONO_VIRTUAL_ALLOC, "VirtualAlloc"},
    {MONO_VIRTUAL_ALIGNED, "  of these aligned"},
    {MONO_VIRTUAL_LOW, "  below 2 GiB"},
    {MONO_VIRTUAL_FIXED, "  at a given address"},
    {MONO_VIRTUAL_QUERY, "VirtualQuery"},
    {MONO_VIRTUAL_DECOMMIT, "VirtualFree(DECOMMIT)"},
    {MONO_VIRTUAL_RELEASE, "VirtualFree(RELEASE)"},
    {MONO_VIRTUAL_PROTECT, "VirtualProtect of host memory"},
    {MONO_VIRTUAL_PROTECT_FOREIGN, "VirtualProtect of foreign memory"},
    {MONO_VIRTUAL_NO_MEMORY, "answered with NULL"},
    {MONO_VIRTUAL_FAULT, "wrong answers"},
};

static int
program_run(int argc, char **argv)
{
    mono_config_parse(NULL);
    MonoDomain *domain = mono_jit_init("hostheap");
    if (domain == NULL)
        return 100;
    MonoAssembly *assembly = mono_domain_assembly_open(domain, argv[0]);
    if (assembly == NULL) {
        fprintf(stderr, "mono host: %s can not be opened\n", argv[0]);
        return 101;
    }
    int result = mono_jit_exec(domain, assembly, argc, argv);
    mono_jit_cleanup(domain);
    return result;
}

static int
expect(int condition, const char *what)
{
    if (!condition)
        fprintf(stderr, "mono host: %s\n", what);
    return !condition;
}

// What must hold between what was asked and what the heap counts.
static int
figures_wrong(void)
{
    hh_heap_stats stats;
    hh_heap_get_stats(hh_heap_of(mono_heap()), &stats);
    uint64_t handed_on = mono_heap_count(MONO_FREE_LIBC) + mono_heap_count(MONO_REALLOC_LIBC);
    int wrong = expect(mono_heap_count(MONO_FAULT) == 0, "bad frees inside the heap");
    wrong += expect(stats.bad_frees == handed_on, "refused frees and libc's blocks differ");
    wrong += expect(mono_heap_count(MONO_NO_MEMORY) == 0, "requests not served");
    wrong += expect(handed_on > 0, "no block of libc's was freed: the test shows too little");
    uint64_t made =
        mono_heap_count(MONO_MALLOC) + mono_heap_count(MONO_CALLOC) + mono_heap_count(MONO_REALLOC);
    wrong += expect(stats.live_blocks <= made, "more live blocks than were made");
    wrong += expect(mono_virtual_count(MONO_VIRTUAL_FAULT) == 0, "wrong answers of the manager");
    wrong += expect(mono_virtual_count(MONO_VIRTUAL_NO_MEMORY) == 0, "no virtual memory");
    wrong += expect(mono_virtual_count(MONO_VIRTUAL_QUERY) > 1000, "too few queries to show much");
    return wrong;
}

static void
count_print(const struct call_name *name, uint64_t count)
{
    printf("%-38s %12" PRIu64 "\n", name->name, count);
}

static void
text_write(void *file, const char *text, size_t length_bytes)
{
    fwrite(text, 1, length_bytes, file);
}

int
main(int argc, char **argv)
{
    static char *defaults[] = {NULL, "500", "120", NULL};
    if (argc != 2 && argc != 4) {
        fprintf(stderr, "usage: %s Workload.exe [THREADS ROUNDS]\n", argv[0]);
        return 2;
    }
    defaults[0] = argv[1];
    int result = program_run(3, argc == 4 ? argv + 1 : defaults);

    printf("\n%-38s %12s\n", "call", "count");
    for (size_t i = 0; i < sizeof heap_calls / sizeof heap_calls[0]; i++)
        count_print(&heap_calls[i], mono_heap_count(heap_calls[i].call));
    for (size_t i = 0; i < sizeof virtual_calls / sizeof virtual_calls[0]; i++)
        count_print(&virtual_calls[i], mono_virtual_count(virtual_calls[i].call));
    printf("%-38s %12zu\n", "allocations Mono still has", mono_virtual_live());
    puts("");
    hh_stats_print(text_write, stdout, HH_STATS_HEAPS);
    fflush(stdout);
    int wrong = figures_wrong();
    if (result != 0)
        fprintf(stderr, "mono host: the program ended with %d\n", result);
    return result != 0 || wrong != 0;
}
