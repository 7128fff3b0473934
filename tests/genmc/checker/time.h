// SPDX-License-Identifier: MIT
// genmc/checker/time.h - what src names and no program here calls.
#ifndef HH_GENMC_TIME_H
#define HH_GENMC_TIME_H
struct timespec {
    long tv_sec, tv_nsec;
};
int nanosleep(const struct timespec *wait, struct timespec *left);
#endif
