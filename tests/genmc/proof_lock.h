// SPDX-License-Identifier: MIT
// genmc/proof_lock.h - the checker's own mutex in the place of os/lock.h, which lock.c looks at.
#ifndef HHI_OS_LOCK_H
#define HHI_OS_LOCK_H

#include "proof.h"

struct hhi_lock {
    pthread_mutex_t mutex;
};

static inline void
hhi_lock_enter(struct hhi_lock *lock)
{
    pthread_mutex_lock(&lock->mutex);
}

static inline bool
hhi_lock_try_enter(struct hhi_lock *lock)
{
    return pthread_mutex_trylock(&lock->mutex) == 0;
}

static inline void
hhi_lock_leave(struct hhi_lock *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}

static inline void
hhi_lock_reset(struct hhi_lock *lock)
{
    (void)lock;
}

#endif
