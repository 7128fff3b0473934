// SPDX-License-Identifier: MIT
// genmc/checker/sys/stat.h - what src names.
#ifndef HH_GENMC_STAT_H
#define HH_GENMC_STAT_H
struct stat {
    unsigned long st_dev, st_ino;
};
#endif
