// SPDX-License-Identifier: MIT
/*
 * storms/storms.h - what the storms share. They run on the drop-in, one storm a process: storms NAME.
 *
 * Every storm has a short form, which ctest runs, and a long one (HOSTHEAP_STORM=long, which
 * scripts/long storms sets). Each ends itself by alarm(2), and so do its children.
 */
#ifndef HH_TESTS_STORMS_STORMS_H
#define HH_TESTS_STORMS_STORMS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "support/plain.h"

struct storm {
    const char *name;
    int (*run)(const char *argument); // 0, or EXIT_SKIPPED
    unsigned seconds, long_seconds;   // bounds
};
extern const struct storm fork_storms[], thread_storms[], limit_storms[], signal_storms[],
    soak_storms[];

// Whether this is the long form; the count that belongs to the form.
bool storm_is_long(void);
unsigned storm_count(unsigned short_count, unsigned long_count);
uint64_t storm_now_ms(void);
size_t storm_rss_kib(void);

// Blocks that come and go, each with a pattern that is checked when it goes.
enum { CHURN_BLOCKS = 256 };
struct churn {
    unsigned char *blocks[CHURN_BLOCKS];
    size_t sizes[CHURN_BLOCKS];
    uint64_t seed;
    bool large; // only blocks that are runs of their own: each step takes locks
};
void churn_step(struct churn *churn);
void churn_end(struct churn *churn);

// Threads that churn until they are told to stop.
enum { CHURNERS = 4 };
struct churners {
    pthread_t threads[CHURNERS];
    struct churn churn[CHURNERS];
};
// large: of how many the blocks are large.
void churners_start(struct churners *churners, unsigned large);
void churners_stop(struct churners *churners);

// fork, with a bound on the child's life; then wait for it: it must end with 0.
pid_t storm_fork(unsigned seconds);
void storm_wait(pid_t child);

#endif
