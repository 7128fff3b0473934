/* SPDX-License-Identifier: MIT */
/*
 * tests/models/registry.pml - lists that only grow: guards (hhi_guard_register, src/slab/guard.c) and
 * thread records (thread_make, src/heap/thread.c). Labels GD-3, TC-2.
 *
 * Three threads fill a record and push it; another walks the list.
 *
 * Claims: a walk finds filled records only, none twice, and each whose push was over when the walk
 * began; at the end all are in the list. Interleavings only.
 *
 * Planted faults, each of which the model must find:
 *   SPLIT_PUSH   the push is a load and a store
 *   LINK_LATE    the link is written after the push
 *   LINK_STALE   the link is not written again when the push is tried again
 *   FILL_LATE    the record is filled after the push
 */
#define THREADS 3
#define NIL     3

byte head = NIL;
byte next[THREADS];
bool filled[THREADS];
byte done;           /* a bit for each push that is over */

proctype thread(byte me)
{
    byte old;
#ifndef FILL_LATE
    filled[me] = true;
#endif
    old = head;
#ifdef LINK_STALE
    next[me] = old;
#endif
    do
    :: true ->
#if !defined(LINK_LATE) && !defined(LINK_STALE)
        next[me] = old;
#endif
#ifdef SPLIT_PUSH
        head = me;
        break
#else
        atomic {
            if
            :: head == old -> head = me; break
            :: else -> old = head
            fi
        }
#endif
    od;
#ifdef LINK_LATE
    next[me] = old;
#endif
#ifdef FILL_LATE
    filled[me] = true;
#endif
    done = done | (1 << me)
}

inline walk()
{
    atomic { due = done; at = head };
    do
    :: at != NIL ->
        assert(filled[at] && !(seen & (1 << at)));
        seen = seen | (1 << at);
        at = next[at]
    :: else -> break
    od;
    assert((due & seen) == due);
    atomic { seen = 0; due = 0; at = 0 }
}

proctype walker()
{
    byte at, seen, due;
    walk();
    walk()
}

init
{
    byte at, seen, due;
    atomic {
        run thread(0);
        run thread(1);
        run thread(2);
        run walker()
    }
    done == 7;
    walk()
}
