// SPDX-License-Identifier: MIT
/*
 * bench/launch.c - runs a program and writes what it used:
 *
 *   bench_launch FILE program arguments...
 *
 * FILE gets "status user_us system_us peak_rss_kib". The kernel counts the memory of whoever starts
 * a program into that program's peak, and this is smaller than Python. BENCH_PRELOAD becomes the
 * program's LD_PRELOAD.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
    if (argc < 3) {
        return 2;
    }
    pid_t child = fork();
    if (child == 0) {
        const char *preload = getenv("BENCH_PRELOAD");
        if (preload && *preload) {
            setenv("LD_PRELOAD", preload, 1);
        }
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        return 1;
    }
    FILE *file = fopen(argv[1], "w");
    if (!file) {
        return 1;
    }
    fprintf(file, "%d %lld %lld %ld\n",
            WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status),
            usage.ru_utime.tv_sec * 1000000LL + usage.ru_utime.tv_usec,
            usage.ru_stime.tv_sec * 1000000LL + usage.ru_stime.tv_usec, usage.ru_maxrss);
    return fclose(file) != 0;
}
