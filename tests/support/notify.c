// SPDX-License-Identifier: MIT
// tests/support/notify.c - see notify.h.
#include "support/notify.h"

#include <string.h>

enum { PATIENCE_S = 60 };

static hh_hresult
notify_query(ICLRMemoryNotificationCallback *self, const hh_guid *riid, void **ppv)
{
    (void)self, (void)riid;
    *ppv = NULL;
    return E_NOINTERFACE;
}

static uint32_t
notify_add_ref(ICLRMemoryNotificationCallback *self)
{
    struct notify *n = (struct notify *)self;
    pthread_mutex_lock(&n->lock);
    uint32_t references = ++n->references;
    pthread_mutex_unlock(&n->lock);
    return references;
}

static uint32_t
notify_release(ICLRMemoryNotificationCallback *self)
{
    struct notify *n = (struct notify *)self;
    pthread_mutex_lock(&n->lock);
    uint32_t references = --n->references;
    n->ended |= references == 0;
    // A release in the middle of a call by another thread would end the object under it.
    n->called_after_end |= n->inside && references == 0;
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->lock);
    return references;
}

static hh_hresult
notify_call(ICLRMemoryNotificationCallback *self, uint32_t available)
{
    struct notify *n = (struct notify *)self;
    pthread_mutex_lock(&n->lock);
    n->called_after_end |= n->references == 0;
    n->thread = pthread_self();
    n->inside = true;
    n->last = available;
    n->calls++;
    pthread_cond_broadcast(&n->changed);
    while (n->held)
        pthread_cond_wait(&n->changed, &n->lock);
    pthread_mutex_unlock(&n->lock);
    if (n->act != NULL)
        n->act(n);
    pthread_mutex_lock(&n->lock);
    n->inside = false;
    hh_hresult result = n->result;
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->lock);
    return result;
}

static const ICLRMemoryNotificationCallbackVtbl notify_table = {notify_query, notify_add_ref,
                                                                notify_release, notify_call};

void
notify_init(struct notify *n)
{
    memset(n, 0, sizeof *n);
    n->object.lpVtbl = &notify_table;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->changed, NULL);
}

uint32_t
notify_references(struct notify *n)
{
    pthread_mutex_lock(&n->lock);
    uint32_t references = n->references;
    pthread_mutex_unlock(&n->lock);
    return references;
}

unsigned
notify_calls(struct notify *n)
{
    pthread_mutex_lock(&n->lock);
    unsigned calls = n->calls;
    pthread_mutex_unlock(&n->lock);
    return calls;
}

uint32_t
notify_last(struct notify *n)
{
    pthread_mutex_lock(&n->lock);
    uint32_t last = n->last;
    pthread_mutex_unlock(&n->lock);
    return last;
}

// What is waited for.
struct notify_goal {
    bool by_call;
    uint32_t available; // 0 = any
    unsigned after_calls;
    bool by_references;
    uint32_t references;
};

static bool
notify_reached(const struct notify *n, const struct notify_goal *goal)
{
    if (goal->by_call)
        return n->calls > goal->after_calls && (goal->available == 0 || n->last == goal->available);
    if (goal->by_references)
        return n->references == goal->references;
    return n->inside;
}

static bool
notify_wait(struct notify *n, const struct notify_goal *goal)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&n->lock);
    bool reached;
    while (!(reached = notify_reached(n, goal)) &&
           pthread_cond_timedwait(&n->changed, &n->lock, &end) == 0)
        continue;
    pthread_mutex_unlock(&n->lock);
    return reached;
}

bool
notify_wait_for(struct notify *n, uint32_t available, unsigned after_calls)
{
    return notify_wait(n, &(struct notify_goal){
                              .by_call = true, .available = available, .after_calls = after_calls});
}

bool
notify_wait_calls(struct notify *n, unsigned more_than)
{
    return notify_wait_for(n, 0, more_than);
}

bool
notify_wait_references(struct notify *n, uint32_t references)
{
    return notify_wait(n, &(struct notify_goal){.by_references = true, .references = references});
}

bool
notify_wait_inside(struct notify *n)
{
    return notify_wait(n, &(struct notify_goal){0});
}

void
notify_let_go(struct notify *n)
{
    pthread_mutex_lock(&n->lock);
    n->held = false;
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->lock);
}
