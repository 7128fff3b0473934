// SPDX-License-Identifier: MIT
// storms/storms.c - main program and helpers of the storms.
#include "storms/storms.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>

static atomic_bool churners_end;

bool
storm_is_long(void)
{
    const char *form = getenv("HOSTHEAP_STORM");
    return form != NULL && strcmp(form, "long") == 0;
}

unsigned
storm_count(unsigned short_count, unsigned long_count)
{
    return storm_is_long() ? long_count : short_count;
}

uint64_t
storm_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// Without stdio, which allocates.
size_t
storm_rss_kib(void)
{
    char text[128] = {0};
    size_t pages[2] = {0};
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    check(file >= 0 && read(file, text, sizeof text - 1) > 0);
    close(file);
    check(sscanf(text, "%zu %zu", &pages[0], &pages[1]) == 2);
    return pages[1] * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static uint64_t
churn_random(struct churn *churn)
{
    churn->seed = churn->seed * 6364136223846793005u + 1442695040888963407u;
    return churn->seed >> 33;
}

static void
churn_drop(struct churn *churn, size_t at)
{
    unsigned char *block = churn->blocks[at];
    size_t last = churn->sizes[at] - 1;
    check(block[0] == (unsigned char)at && block[last] == (unsigned char)(last == 0 ? at : last));
    free(block);
    churn->blocks[at] = NULL;
}

void
churn_step(struct churn *churn)
{
    size_t at = churn_random(churn) % CHURN_BLOCKS;
    if (churn->blocks[at] != NULL) {
        churn_drop(churn, at);
        return;
    }
    // Mostly small ones; each 32nd slot is for larger ones.
    size_t most = at % 32 == 0 ? 400000 : (size_t)16 << churn_random(churn) % 9;
    size_t size_bytes = (churn->large ? 300000 : 1) + churn_random(churn) % most;
    unsigned char *block = malloc(size_bytes);
    check(block != NULL);
    block[size_bytes - 1] = (unsigned char)(size_bytes - 1);
    block[0] = (unsigned char)at;
    churn->blocks[at] = block;
    churn->sizes[at] = size_bytes;
}

void
churn_end(struct churn *churn)
{
    for (size_t at = 0; at < CHURN_BLOCKS; at++)
        if (churn->blocks[at] != NULL)
            churn_drop(churn, at);
}

static void *
churner_run(void *argument)
{
    struct churn *churn = argument;
    while (!atomic_load(&churners_end))
        churn_step(churn);
    churn_end(churn);
    return NULL;
}

void
churners_start(struct churners *churners, unsigned large)
{
    memset(churners, 0, sizeof *churners);
    atomic_store(&churners_end, false);
    for (unsigned i = 0; i < CHURNERS; i++) {
        churners->churn[i].seed = i + 1;
        churners->churn[i].large = i < large;
        check(pthread_create(&churners->threads[i], NULL, churner_run, &churners->churn[i]) == 0);
    }
}

void
churners_stop(struct churners *churners)
{
    atomic_store(&churners_end, true);
    for (unsigned i = 0; i < CHURNERS; i++)
        check(pthread_join(churners->threads[i], NULL) == 0);
}

pid_t
storm_fork(unsigned seconds)
{
    pid_t child = fork();
    check(child >= 0);
    if (child == 0)
        alarm(seconds);
    return child;
}

void
storm_wait(pid_t child)
{
    int status = 1;
    while (waitpid(child, &status, 0) < 0)
        check(errno == EINTR);
    if (status != 0)
        fprintf(stderr, "a child ended with status %#x\n", (unsigned)status);
    check(status == 0);
}

int
main(int count, char **arguments)
{
    static const struct storm *const tables[] = {fork_storms, thread_storms, limit_storms,
                                                 signal_storms, soak_storms};
    check(count >= 2 && dlsym(RTLD_DEFAULT, "hh_trim") != NULL); // runs on the drop-in
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        for (const struct storm *storm = tables[i]; storm->name != NULL; storm++) {
            if (strcmp(storm->name, arguments[1]) != 0)
                continue;
            alarm(storm_is_long() ? storm->long_seconds : storm->seconds);
            uint64_t start_ms = storm_now_ms();
            int result = storm->run(count > 2 ? arguments[2] : "");
            printf("%s: %s, %.1f s, %zu KiB resident\n", storm->name,
                   result == 0 ? "passed" : "skipped", (double)(storm_now_ms() - start_ms) / 1000,
                   storm_rss_kib());
            return result;
        }
    }
    fprintf(stderr, "no storm %s\n", arguments[1]);
    return 1;
}
