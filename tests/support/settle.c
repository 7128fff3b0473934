// SPDX-License-Identifier: MIT
// tests/support/settle.c - see settle.h.
#include "support/settle.h"

#include <dirent.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LOOKS_UNTOLD = 20
}; // one after the other that must find a thread asleep whose call is not told

/*
 * In a nap, or in its bed: sem_wait asks for FUTEX_WAIT_BITSET. Other calls of futex are those of locks, for which
 * a thread waits while it loads the library; one that was woken and has not run yet shows its call as well.
 */
static bool
call_is_sleep(const char *text)
{
    long number;
    unsigned long operation = 0;
    if (sscanf(text, "%ld %*x %lx", &number, &operation) < 1)
        return false; // it runs
    return number == SYS_clock_nanosleep ||
           (number == SYS_futex && (operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET);
}

// The first line of a file of a thread's. False: it can not be read.
static bool
thread_read(const char *thread, const char *name, char *text, int size)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/self/task/%s/%s", thread, name);
    FILE *file = fopen(path, "re");
    bool read = file != NULL && fgets(text, size, file) != NULL;
    if (file != NULL)
        fclose(file);
    return read;
}

// Where the kernel does not tell calls, a thread that sleeps may be in the middle of something: told says so.
static bool
thread_sleeps(const char *thread, bool *told)
{
    char text[128];
    if (thread_read(thread, "syscall", text, sizeof text))
        return call_is_sleep(text);
    if (!thread_read(thread, "stat", text, sizeof text))
        return true; // it is no more
    *told = false;
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && name_end[1] == ' ' && name_end[2] == 'S';
}

static bool
others_sleep(bool *told)
{
    char own[32];
    bool sleep = true;
    snprintf(own, sizeof own, "%ld", (long)gettid());
    DIR *threads = opendir("/proc/self/task");
    for (struct dirent *entry; threads != NULL && (entry = readdir(threads)) != NULL;)
        sleep = sleep && (entry->d_name[0] == '.' || strcmp(entry->d_name, own) == 0 ||
                          thread_sleeps(entry->d_name, told));
    if (threads != NULL)
        closedir(threads);
    return sleep && threads != NULL;
}

void
settle_reclaimer(void)
{
    bool told = true;
    for (unsigned looks = 0; looks < (told ? 1 : LOOKS_UNTOLD); usleep(1000))
        looks = others_sleep(&told) ? looks + 1 : 0;
}
