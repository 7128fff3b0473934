// SPDX-License-Identifier: MIT
/*
 * bench/bench_main.cc - one row on one allocator in one process, timed by Google Benchmark.
 *
 *   bench --list                          name, kind, threads, flags of every row, tab-separated
 *   bench --row=NAME --allocator=NAME [--repetitions=N] [--budget-ms=N] [--idle-ms=N]
 *
 * repetitions is the most that are timed; rows that would take longer than budget-ms get fewer,
 * but at least 3. A memory row runs once.
 *
 * Prints one JSON object: every repetition's time, the checksum, the memory figures, and which
 * object served the blocks. Everything else (which allocators, how often, in what order, what is
 * compared) is scripts/bench's business.
 */
#include "bench.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

const bench_row *
row_find(const std::string &name)
{
    for (size_t f = 0; f < bench_family_count; f++) {
        for (size_t r = 0; r < bench_families[f]->row_count; r++) {
            if (name == bench_families[f]->rows[r].name) {
                return &bench_families[f]->rows[r];
            }
        }
    }
    bench_fail("no such row: %s", name.c_str());
}

void
rows_list()
{
    static const char *const kinds[] = {"time", "latency", "memory"};
    for (size_t f = 0; f < bench_family_count; f++) {
        for (size_t r = 0; r < bench_families[f]->row_count; r++) {
            const bench_row &row = bench_families[f]->rows[r];
            std::printf("%s\t%s\t%u\t%s%s%s%s\n", row.name, kinds[row.kind], row.threads,
                        row.flags & BENCH_QUICK ? "quick," : "",
                        row.flags & BENCH_HOSTHEAP ? "hostheap," : "",
                        row.flags & BENCH_DROP_IN ? "drop-in," : "",
                        row.flags & BENCH_WALL || row.threads > 1 ? "wall," : "cpu,");
        }
    }
}

// Keeps every repetition; nothing is averaged here.
class Collector : public benchmark::BenchmarkReporter {
  public:
    bool
    ReportContext(const Context &) override
    {
        return true;
    }

    void
    ReportRuns(const std::vector<Run> &runs) override
    {
        for (const Run &run : runs) {
            if (run.run_type == Run::RT_Iteration) {
                if (run.error_occurred) {
                    bench_fail("Google Benchmark: %s", run.error_message.c_str());
                }
                wall_ns.push_back(run.real_accumulated_time * 1e9);
                cpu_ns.push_back(run.cpu_accumulated_time * 1e9);
            }
        }
    }

    std::vector<double> wall_ns;
    std::vector<double> cpu_ns;
};

void
repetition(benchmark::State &state, bench_run *run)
{
    const long before = bench_faults();
    bench_mark(1);
    for (auto _ : state) {
        run->repetition++;
        run->own_ns = 0;
        run->row->repeat(run);
    }
    bench_mark(2);
    run->faults += bench_faults() - before;
}

void
print_times(const char *key, const std::vector<double> &times)
{
    std::printf("  \"%s\": [", key);
    for (size_t i = 0; i < times.size(); i++) {
        std::printf("%s%.0f", i ? ", " : "", times[i]);
    }
    std::printf("],\n");
}

void
print_memory(const char *key, const bench_memory &memory)
{
    std::printf("  \"%s\": {\"rss_kib\": %ld, \"anon_kib\": %ld, \"peak_rss_kib\": %ld, "
                "\"mappings\": %ld},\n",
                key, memory.rss_kib, memory.anon_kib, memory.peak_rss_kib, memory.mappings);
}

} // namespace

int
main(int argc, char **argv)
{
    std::string row_name;
    std::string allocator_name = "malloc";
    int repetitions = 5;
    unsigned idle_ms = 0;
    double budget_ms = 1e9;
    for (int i = 1; i < argc; i++) {
        const std::string option = argv[i];
        const size_t equals = option.find('=');
        const std::string key = option.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
        if (key == "--list") {
            rows_list();
            return 0;
        } else if (key == "--row") {
            row_name = value;
        } else if (key == "--allocator") {
            allocator_name = value;
        } else if (key == "--repetitions") {
            repetitions = std::atoi(value.c_str());
        } else if (key == "--budget-ms") {
            budget_ms = std::atof(value.c_str());
        } else if (key == "--idle-ms") {
            idle_ms = static_cast<unsigned>(std::atoi(value.c_str()));
        } else {
            bench_fail("unknown option %s", option.c_str());
        }
    }

    bench_run run = {};
    run.row = row_find(row_name);
    run.operations = run.row->operations;
    run.allocator = bench_allocator_open(allocator_name.c_str());
    if (!run.allocator) {
        bench_fail("no allocator %s in this process", allocator_name.c_str());
    }
    Collector times;
    std::vector<double> own;
    int no_arguments = 1;
    benchmark::Initialize(&no_arguments, argv);

    bench_memory before;
    bench_memory loaded;
    bench_memory ended;
    bench_memory idle;
    bench_memory_read(&before);
    const bool measured_once = run.row->kind == BENCH_MEMORY;
    if (run.row->threads > 1) {
        run.pool = bench_pool_start(run.row->threads);
    }
    if (run.row->setup) {
        run.row->setup(&run);
    }
    if (measured_once) {
        repetitions = 1;
        idle_ms = 0; // the row has its own idle time
    } else {
        run.verify = true;
        const double begin_ns = bench_now_ns();
        run.row->repeat(&run);
        const double rounds = budget_ms * 1e6 / (bench_now_ns() - begin_ns);
        repetitions =
            rounds < repetitions ? std::max(std::min(repetitions, 3), int(rounds)) : repetitions;
        run.verify = false;
    }
    benchmark::RegisterBenchmark(row_name.c_str(),
                                 [&](benchmark::State &state) {
                                     repetition(state, &run);
                                     if (run.own_ns > 0) {
                                         own.push_back(run.own_ns);
                                     }
                                 })
        ->Iterations(1)
        ->Repetitions(repetitions)
        ->MeasureProcessCPUTime()
        ->UseRealTime();
    benchmark::RunSpecifiedBenchmarks(&times);
    bench_memory_read(&loaded);
    if (run.row->teardown) {
        run.row->teardown(&run);
    }
    if (run.pool) {
        bench_pool_end(run.pool);
    }
    bench_memory_read(&ended);
    bench_sleep_ms(idle_ms);
    bench_memory_read(&idle);

    std::printf("{\n  \"row\": \"%s\",\n  \"allocator\": \"%s\",\n  \"object\": \"%s\",\n",
                row_name.c_str(), allocator_name.c_str(),
                bench_allocator_object(allocator_name.c_str()));
    print_times("wall_ns", times.wall_ns);
    print_times("cpu_ns", own.empty() ? times.cpu_ns : own);
    print_memory("before", before);
    print_memory("loaded", loaded);
    print_memory("ended", ended);
    print_memory("idle", idle);
    std::printf("  \"values\": {");
    for (size_t i = 0; i < run.value_count; i++) {
        std::printf("%s\"%s\": %.6g", i ? ", " : "", run.values[i].name, run.values[i].value);
    }
    std::printf("},\n  \"operations\": %llu,\n  \"faults\": %ld,\n  \"checksum\": \"%llx\"\n}\n",
                static_cast<unsigned long long>(run.operations), run.faults,
                static_cast<unsigned long long>(run.checksum));
    return 0;
}
