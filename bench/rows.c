// SPDX-License-Identifier: MIT
// bench/rows.c - the list of all workload families; a new file under workloads/ is entered here.
#include "bench.h"

extern const struct bench_family bench_pair, bench_batch, bench_cold, bench_replace, bench_exchange,
    bench_larson, bench_threads, bench_growth, bench_shaped, bench_structures, bench_latency,
    bench_giveback, bench_hosting, bench_replay, bench_scale, bench_virtual;

const struct bench_family *const bench_families[] = {
    &bench_pair,     &bench_batch,      &bench_cold,    &bench_replace,
    &bench_exchange, &bench_larson,     &bench_threads, &bench_growth,
    &bench_shaped,   &bench_structures, &bench_latency, &bench_giveback,
    &bench_hosting,  &bench_replay,     &bench_scale,   &bench_virtual,
};

const size_t bench_family_count = sizeof bench_families / sizeof bench_families[0];
