// SPDX-License-Identifier: MIT
// genmc/checker/semaphore.h - what src names; rcu.c puts functions of its own in their place.
#ifndef HH_GENMC_SEMAPHORE_H
#define HH_GENMC_SEMAPHORE_H
typedef struct {
    int unused;
} sem_t;
int sem_init(sem_t *semaphore, int shared, unsigned value);
int sem_post(sem_t *semaphore);
int sem_wait(sem_t *semaphore);
#endif
