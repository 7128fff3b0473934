// SPDX-License-Identifier: MIT
// genmc/proof_lock.h - the checker's own mutex in the place of os/lock.h, which lock.c looks at.
#ifndef HHI_OS_LOCK_H
#define HHI_OS_LOCK_H

#include "proof.h"

struct hhi_lock {
    pthread_mutex_t mutex;
};

static inline uint64_t
hhi_thread_self(void)
{
    return (uint64_t)pthread_self();
}

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

// No proof forks.
enum hhi_fork_step { HHI_FORK_LOOK, HHI_FORK_TAKE, HHI_FORK_PARENT, HHI_FORK_CHILD };

static inline void
hhi_fork_begin(void)
{
}

static inline bool
hhi_fork_missed(void)
{
    return false;
}

static inline void
hhi_fork_try_again(void)
{
}

static inline void
hhi_fork_end(enum hhi_fork_step step)
{
    (void)step;
}

static inline unsigned
hhi_fork_depth(void)
{
    return 1;
}

static inline void
hhi_lock_fork(struct hhi_lock *lock, enum hhi_fork_step step)
{
    (void)lock, (void)step;
}

static inline bool
hhi_lock_is_mine(struct hhi_lock *lock)
{
    (void)lock;
    return false;
}

#endif
