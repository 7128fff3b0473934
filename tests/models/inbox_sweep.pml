/* SPDX-License-Identifier: MIT */
/*
 * tests/models/inbox_sweep.pml - the sweeper purges pages of marked blocks while the owner lives, as
 * in pass_inbox (src/heap/sweep.c), slab_collect_guarded (src/heap/thread_cache.c) and
 * src/heap/inbox.c. Labels SL-2, SL-4, GD-2.
 *
 * One slab of two blocks, each a page of its own. A thread frees each of them: it marks the block,
 * looks at both bits of notice, and if one is clear sets both in one step and acts on what it found.
 * The owner takes the slab out under the arrival lock, collects in a guarded section that begins
 * before it gives the token back, then takes blocks and writes to them. The sweeper, under the lock,
 * clears the second bit and remembers that there is something to purge; if the bit is still clear at a
 * later pass, or at once when all is to be purged, it takes the slab out. Then it reads the epoch,
 * begins a new one, and if no section of that epoch or an older one is open, purges the blocks that
 * are marked, and pushes the slab into the inbox. A third thread begins an epoch of its own at any
 * time. Who can not have the lock goes on.
 *
 * Claims: what the owner's program wrote is never purged; a slab is in one hand at most; at the end
 * each marked block's slab is in the inbox or has arrived, and a marked block that was not purged has
 * its bit set or is remembered, so that a later pass will. Interleavings only.
 *
 * Planted faults, each of which the model must find:
 *   NO_SECTION     the owner collects outside of a section
 *   SECTION_LATE   it gives the token back before the section begins
 *   EPOCH_EARLY    the sweeper reads the epoch before it takes the slab out
 *   NO_LOOK        it does not look at the guard
 *   TOUCHED_LATE   it clears the bit after its look at the links
 *   TOUCHED_EARLY  a freer sets the bits before its mark
 *   NO_LOCK        the lock is not taken
 *   FORGET         a slab that could not be purged is not remembered
 */
#ifndef DRAINS
#define DRAINS 2
#endif
#ifndef TAKES
#define TAKES 2
#endif
#ifndef PASSES
#define PASSES 2
#endif
#ifndef EPOCHS
#define EPOCHS 1
#endif

#define BLOCKS 2
#define END    6
#define REMOTE 7
#define LIVE   8

byte link[BLOCKS];
byte freed = END;     /* the owner's list */
bool token, touched;  /* the bits of notice */
bool inbox, arrived;  /* hold the slab, or nothing */
bool rests;           /* there may be something to purge */
bool lock;
byte epoch = 1;
byte guard;           /* the owner's; 0: no section is open */
byte working = 5;     /* processes that are not done */
/* What only the claims look at. */
bool held;            /* in the inbox, arrived, or in the hands of who takes it out of there */
bool purged[BLOCKS];  /* since its mark */

inline push()
{
    atomic { assert(!inbox && !arrived); inbox = true }
}

inline tell()
{
    if
    :: !token || !touched ->
        atomic { told = !token; token = true; touched = true; held = held || told }
    :: token && touched
    fi
}

proctype freer(byte block)
{
    bool told;
    /* Live, and freed here alone: the owner takes it no sooner than it is marked. */
#ifdef TOUCHED_EARLY
    tell();
#endif
    atomic { assert(link[block] == LIVE); link[block] = REMOTE; purged[block] = false };
#ifndef TOUCHED_EARLY
    tell();
#endif
    if
    :: told -> push()
    :: else
    fi;
    working--
}

inline lock_try(got)
{
#ifdef NO_LOCK
    got = true
#else
    atomic { got = !lock; lock = true }
#endif
}

inline gather()
{
    atomic { in = inbox; inbox = false };
    if
    :: in -> atomic { assert(!arrived); arrived = true }
    :: else
    fi;
    in = false
}

inline collect()
{
#if !defined(NO_SECTION) && !defined(SECTION_LATE)
    entered = epoch;
    guard = entered;
#endif
    atomic { assert(held); token = false; touched = false; held = false };
#ifdef SECTION_LATE
    entered = epoch;
    guard = entered;
#endif
    atomic { was[0] = link[0]; was[1] = link[1] };
    do
    :: block < BLOCKS ->
        if
        :: was[block] == REMOTE ->
            assert(link[block] == REMOTE);
            atomic { link[block] = freed; freed = block }
        :: else
        fi;
        block++
    :: else -> break
    od;
    atomic { guard = 0; entered = 0; block = 0; was[0] = 0; was[1] = 0 }
}

proctype owner()
{
    byte drains, takes, block, entered;
    bool locked, mine, in;
    byte was[BLOCKS];
    do
    :: drains < DRAINS && (inbox || arrived) ->
        drains++;
        lock_try(locked);
        if
        :: locked ->
            gather();
            mine = arrived;
            if
            :: mine -> arrived = false; rests = false
            :: else
            fi;
            lock = false
        :: else
        fi;
        if
        :: mine -> collect()
        :: else
        fi;
        mine = false;
        locked = false
    :: takes < TAKES && freed != END ->
        takes++;
        atomic { block = freed; freed = link[block]; link[block] = LIVE };
        block = 0
    :: break
    od;
    working--
}

inline purge(block)
{
    if
    :: link[block] == REMOTE ->
        /* Any number of steps of others may come in between. */
        atomic { assert(link[block] != LIVE); purged[block] = true }
    :: else
    fi
}

inline sweep_taken()
{
#ifndef EPOCH_EARLY
    taken_epoch = epoch;
#endif
    epoch++;
    alone = guard == 0 || guard > taken_epoch;
#ifdef NO_LOOK
    alone = true;
#endif
    if
    :: alone -> purge(0); purge(1)
    :: else
    fi;
#ifdef TOUCHED_LATE
    touched = false;
#endif
#ifdef FORGET
    rests = false;
#else
    rests = !alone;
#endif
    push()
}

proctype sweeper()
{
    byte passes, taken_epoch;
    bool locked, mine, alone, all, in;
    do
    :: passes < PASSES && (inbox || arrived) ->
        passes++;
        if
        :: all = true
        :: all = false
        fi;
#ifdef EPOCH_EARLY
        taken_epoch = epoch;
#endif
        lock_try(locked);
        if
        :: locked ->
            gather();
            if
            :: arrived ->
                if
                :: touched ->
#ifndef TOUCHED_LATE
                    touched = false;
#endif
                    rests = true;
                    mine = all
                :: else -> mine = rests
                fi;
                if
                :: mine -> arrived = false
                :: else
                fi
            :: else
            fi;
            lock = false
        :: else
        fi;
        if
        :: mine -> sweep_taken()
        :: else
        fi;
        mine = false;
        locked = false;
        all = false;
        alone = false;
        taken_epoch = 0
    :: break
    od;
    working--
}

proctype other()
{
    byte epochs;
    do
    :: epochs < EPOCHS -> epochs++; epoch++
    :: break
    od;
    working--
}

init
{
    byte block;
    atomic {
        link[0] = LIVE;
        link[1] = LIVE;
        run freer(0);
        run freer(1);
        run owner();
        run sweeper();
        run other()
    }
    atomic {
        working == 0;
        assert(!(inbox && arrived));
        do
        :: block < BLOCKS ->
            assert(link[block] != REMOTE || inbox || arrived);
            assert(link[block] != REMOTE || purged[block] || touched || rests);
            block++
        :: else -> break
        od
    }
}
