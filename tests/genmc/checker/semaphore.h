// SPDX-License-Identifier: MIT
// genmc/checker/semaphore.h - what src names and no program here calls.
typedef struct {
    int unused;
} sem_t;
int sem_init(sem_t *semaphore, int shared, unsigned value);
int sem_post(sem_t *semaphore);
int sem_wait(sem_t *semaphore);
