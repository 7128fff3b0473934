// SPDX-License-Identifier: MIT
// tests/support/notify.h - a notification callback that remembers how it was called.
#ifndef HH_TESTS_SUPPORT_NOTIFY_H
#define HH_TESTS_SUPPORT_NOTIFY_H

#include <hostheap/host_memory.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

/*
 * The object is the first member, as a COM object is laid out. lock guards everything; changed is
 * signalled after every call. Nothing here asserts: calls come on threads that are not the test's.
 */
struct notify {
    ICLRMemoryNotificationCallback object;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t references;
    bool ended;            // the count fell to 0
    bool called_after_end; // which must never happen
    unsigned calls;
    uint32_t last; // EMemoryAvailable of the last call
    bool inside;   // a call is running
    bool held;     // calls stay inside until notify_let_go
    pthread_t thread;
    hh_hresult result;             // what calls answer
    void (*act)(struct notify *n); // done inside a call, not under the lock; NULL = nothing
};

void notify_init(struct notify *n);
// With one reference for the test itself taken away, so that the count is what others hold.
uint32_t notify_references(struct notify *n);
unsigned notify_calls(struct notify *n);
uint32_t notify_last(struct notify *n);
// Wait until a call brought this value (after the given number of calls), until there were more
// calls, until others hold so many references, or until a call is running; a minute at most.
bool notify_wait_for(struct notify *n, uint32_t available, unsigned after_calls);
bool notify_wait_calls(struct notify *n, unsigned more_than);
bool notify_wait_references(struct notify *n, uint32_t references);
bool notify_wait_inside(struct notify *n);
void notify_let_go(struct notify *n);

#endif
