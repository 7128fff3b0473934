/* SPDX-License-Identifier: MIT */
/*
 * tests/models/remote_free.pml - blocks freed by threads that do not own the slab, as in
 * hhi_slab_free_remote (src/heap/heap_fast.h), hhi_slab_tell (src/heap/alloc.c), hhi_inbox_push and
 * hhi_inbox_take (src/heap/inbox.c), cache_take_arrived (src/heap/thread_cache.c) and
 * hhi_slab_collect (src/slab/slab.c). Labels SL-2, SL-4.
 *
 * Two slabs of one owner: blocks 0 and 1 in the first, block 2 in the second. Two threads free the
 * same blocks in different orders, so that one of each pair of frees is a double free. A freer marks
 * the link by compare-and-swap, looks at the token, takes it if it is free, and pushes the slab. The
 * owner moves what is in the inbox behind what has arrived before, takes the slab that was pushed
 * first, gives its token back, looks through the links as they were at one moment, and makes the marks
 * a list. It may take a block from a list and free it itself at any
 * time, and may fall asleep for good at any time.
 *
 * Claims: of the remote frees of one life of a block one is told yes at most; a slab is in one hand
 * at most (so that the inbox is a chain without loops); at the end each block is live, marked, or in
 * one list once; and each marked block's slab is in the inbox or has arrived. Interleavings only.
 *
 * Planted faults, each of which the model must find:
 *   GIVE_LATE      the owner gives the token back after the scan
 *   LOOK_FIRST     a freer looks at the token before its mark
 *   PUSH_UNTAKEN   a freer pushes the slab without having taken the token
 *   SPLIT_MARK     the mark is a load and a store
 *   SPLIT_PUSH     the push is a load and a store
 *   SPLIT_TAKE     the inbox is taken by a load and a store
 *   CUT            a slab is taken out of what has arrived with all that came after it
 */
#ifndef DRAINS
#define DRAINS 3
#endif
#ifndef TAKES
#define TAKES 1
#endif
#ifndef LOCAL_FREES
#define LOCAL_FREES 1
#endif

#define SLABS  2
#define BLOCKS 3
#define SLAB(b) ((b) >> 1)

#define NIL    9 /* no slab */
#define END    6
#define REMOTE 7
#define LIVE   8

byte link[BLOCKS];       /* LIVE, REMOTE, or the next of a list */
byte head[SLABS];        /* the owner's list to take from */
byte freed[SLABS];       /* the owner's list of what came back */
bool token[SLABS];
byte inbox = NIL;
byte arrived = NIL;      /* the slab pushed first, of those the owner has gathered */
byte inbox_next[SLABS];
byte working;            /* processes that are not done */
/* What only the claims look at. */
byte lives[BLOCKS];      /* times the block became live */
byte ended[BLOCKS];      /* remote frees of it that were told yes */
bool held[SLABS];        /* in the inbox, or in the hands of who takes it there or from there */

inline push(slab)
{
    assert(!held[slab]);
    held[slab] = true;
    old = inbox;
    do
    :: true ->
        inbox_next[slab] = old;
#ifdef SPLIT_PUSH
        old = inbox;
        inbox_next[slab] = old;
        inbox = slab;
        break
#else
        atomic {
            if
            :: inbox == old -> inbox = slab; break
            :: else -> old = inbox
            fi
        }
#endif
    od
}

inline mark(block)
{
#ifdef SPLIT_MARK
    yes = link[block] == LIVE;
    if
    :: yes ->
        atomic {
            link[block] = REMOTE;
            ended[block]++;
            assert(ended[block] <= lives[block])
        }
    :: else
    fi
#else
    atomic {
        yes = link[block] == LIVE;
        if
        :: yes ->
            link[block] = REMOTE;
            ended[block]++;
            assert(ended[block] <= lives[block])
        :: else
        fi
    }
#endif
}

inline free_remote(block)
{
#ifdef LOOK_FIRST
    told = !token[SLAB(block)];
#endif
    mark(block);
    if
    :: yes ->
#ifndef LOOK_FIRST
        told = !token[SLAB(block)];
#endif
        if
        :: told ->
#ifndef PUSH_UNTAKEN
            atomic { told = !token[SLAB(block)]; token[SLAB(block)] = true }
#endif
        :: else
        fi;
        if
        :: told -> push(SLAB(block))
        :: else
        fi
    :: else
    fi;
    yes = false;
    told = false;
    old = 0
}

proctype freer(byte first; byte second; byte third)
{
    bool yes, told;
    byte old;
    free_remote(first);
    free_remote(second);
    free_remote(third);
    working--
}

inline collect(slab)
{
#ifndef GIVE_LATE
    atomic { token[slab] = false; held[slab] = false }
#endif
    /* Four links are read at once. */
    block = 2 * slab;
    atomic {
        was[0] = link[block];
        if
        :: slab == 0 -> was[1] = link[1]
        :: else -> was[1] = END
        fi
    }
    do
    :: block < BLOCKS && SLAB(block) == slab ->
        if
        :: was[block & 1] == REMOTE ->
            assert(link[block] == REMOTE);
            atomic { link[block] = freed[slab]; freed[slab] = block }
        :: else
        fi;
        block++
    :: else -> break
    od;
#ifdef GIVE_LATE
    atomic { token[slab] = false; held[slab] = false }
#endif
    was[0] = 0;
    was[1] = 0;
    block = 0
}

/* The inbox, turned round, behind what has arrived. Only the owner looks at it: steps of its own. */
inline gather()
{
#ifdef SPLIT_TAKE
    slab = inbox;
    inbox = NIL;
#else
    atomic { slab = inbox; inbox = NIL }
#endif
    atomic {
        last = NIL;
        do
        :: slab != NIL ->
            next = inbox_next[slab];
            inbox_next[slab] = last;
            last = slab;
            slab = next
        :: else -> break
        od;
        if
        :: arrived == NIL -> arrived = last
        :: else ->
            slab = arrived;
            do
            :: inbox_next[slab] != NIL -> slab = inbox_next[slab]
            :: else -> break
            od;
            inbox_next[slab] = last
        fi;
        slab = 0;
        next = 0;
        last = 0
    }
}

inline drain()
{
    if
    :: arrived == NIL -> gather()
    :: true -> gather()
    :: arrived != NIL
    fi;
    if
    :: arrived != NIL ->
        slab = arrived;
#ifdef CUT
        arrived = NIL;
#else
        arrived = inbox_next[slab];
#endif
        collect(slab)
    :: else
    fi;
    slab = 0
}

/* malloc: from the list to take from, which is the other list's blocks when it is empty. */
inline take(slab)
{
    atomic {
        if
        :: head[slab] == END -> head[slab] = freed[slab]; freed[slab] = END
        :: else
        fi;
        block = head[slab]
    }
    if
    :: block != END ->
        head[slab] = link[block];
        atomic { link[block] = LIVE; lives[block]++ }
    :: else
    fi;
    block = 0
}

/* free by the owner: a load and a store. */
inline free_own(b)
{
    yes = link[b] == LIVE;
    if
    :: yes -> link[b] = freed[SLAB(b)]; freed[SLAB(b)] = b
    :: else
    fi;
    yes = false
}

proctype owner()
{
    byte drains, takes, frees, slab, next, last, block;
    byte was[2];
    bool yes;
    do
    :: drains < DRAINS && (inbox != NIL || arrived != NIL) -> drains++; drain()
    :: takes < TAKES && (head[0] != END || freed[0] != END) -> takes++; take(0)
    :: frees < LOCAL_FREES -> frees++; free_own(0)
    :: break
    od;
    working--
}

inline walk(list)
{
    block = list;
    do
    :: block != END ->
        assert(block < BLOCKS && link[block] != LIVE && link[block] != REMOTE);
        assert(!seen[block]);
        seen[block] = true;
        block = link[block]
    :: else -> break
    od
}

inline check_end()
{
    block = 0;
    do
    :: block < SLABS -> walked[block] = false; block++
    :: else -> break
    od;
    slab = inbox;
    do
    :: slab != NIL -> assert(!walked[slab]); walked[slab] = true; slab = inbox_next[slab]
    :: else -> break
    od;
    slab = arrived;
    do
    :: slab != NIL -> assert(!walked[slab]); walked[slab] = true; slab = inbox_next[slab]
    :: else -> break
    od;
    walk(head[0]);
    walk(freed[0]);
    walk(head[1]);
    walk(freed[1]);
    block = 0;
    do
    :: block < BLOCKS ->
        assert(seen[block] || link[block] == LIVE || link[block] == REMOTE);
        assert(link[block] != REMOTE || walked[SLAB(block)]);
        block++
    :: else -> break
    od
}

init
{
    byte block, slab;
    bool seen[BLOCKS];
    bool walked[SLABS];
    atomic {
        do
        :: block < BLOCKS -> link[block] = LIVE; lives[block] = 1; block++
        :: else -> break
        od;
        do
        :: slab < SLABS -> head[slab] = END; freed[slab] = END; inbox_next[slab] = NIL; slab++
        :: else -> break
        od;
        block = 0;
        slab = 0;
        working = 3;
        run freer(0, 1, 2);
        run freer(2, 0, 1);
        run owner()
    }
    atomic { working == 0 -> check_end() }
}
