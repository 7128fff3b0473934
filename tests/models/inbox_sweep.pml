/* SPDX-License-Identifier: MIT */
/*
 * tests/models/inbox_sweep.pml - the sweeper purges pages of marked blocks while the owner lives, as
 * in pass_inbox (src/heap/sweep.c), slab_collect_guarded and hhi_cache_drain
 * (src/heap/thread_cache.c). Labels SL-2, SL-4, GD-2.
 *
 * One slab of two blocks, each a page of its own. A thread frees each of them. The owner takes
 * the inbox, and collects in a guarded section that begins before it gives the token back; then it
 * takes blocks and writes to them. The sweeper takes the inbox, reads the epoch, begins a new one,
 * and if no section of that epoch or an older one is open, purges the blocks that are marked, and
 * puts the slab back. A third thread begins an epoch of its own at any time.
 *
 * Claims: what the owner's program wrote is never purged; a slab is in one hand at most; at the end
 * each marked block's slab is in the inbox, and a marked block that was not purged has its slab
 * touched, so that the next pass will. Interleavings only.
 *
 * Planted faults, each of which the model must find:
 *   NO_SECTION     the owner collects outside of a section
 *   SECTION_LATE   it gives the token back before the section begins
 *   EPOCH_EARLY    the sweeper reads the epoch before it takes the inbox
 *   NO_LOOK        it does not look at the guard
 *   TOUCHED_LATE   it clears touched after its look at the links
 *   TOUCHED_EARLY  a freer sets touched before its mark
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
bool token, touched, inbox;  /* the inbox holds the slab, or nothing */
byte epoch = 1;
byte guard;           /* the owner's; 0: no section is open */
byte working = 5;     /* processes that are not done */
/* What only the claims look at. */
bool held;            /* in the inbox, or in the hands of who takes it there or from there */
bool purged[BLOCKS];  /* since its mark */

inline push()
{
    atomic { assert(!inbox); inbox = true }
}

inline touch()
{
    if
    :: !touched -> touched = true
    :: touched
    fi
}

proctype freer(byte block)
{
    bool told;
    /* Live, and freed here alone: the owner takes it no sooner than it is marked. */
#ifdef TOUCHED_EARLY
    touch();
#endif
    atomic { assert(link[block] == LIVE); link[block] = REMOTE; purged[block] = false };
    if
    :: !token ->
        atomic { told = !token; token = true; held = held || told }
    :: token
    fi;
#ifndef TOUCHED_EARLY
    touch();
#endif
    if
    :: told -> push()
    :: else
    fi;
    working--
}

inline collect()
{
#if !defined(NO_SECTION) && !defined(SECTION_LATE)
    entered = epoch;
    guard = entered;
#endif
    atomic { assert(held); token = false; held = false };
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
    byte drains, takes, block, entered, mine;
    byte was[BLOCKS];
    do
    :: drains < DRAINS && inbox ->
        drains++;
        atomic {
            mine = inbox;
            inbox = false
        }
        if
        :: mine -> collect()
        :: else
        fi;
        mine = 0
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

proctype sweeper()
{
    byte passes, taken_epoch;
    bool mine, alone;
    do
    :: passes < PASSES ->
        passes++;
#ifdef EPOCH_EARLY
        taken_epoch = epoch;
#endif
        atomic { mine = inbox; inbox = false };
        if
        :: mine ->
#ifndef EPOCH_EARLY
            taken_epoch = epoch;
#endif
            epoch++;
            alone = guard == 0 || guard > taken_epoch;
#ifdef NO_LOOK
            alone = true;
#endif
            if
            :: alone && touched ->
#ifndef TOUCHED_LATE
                touched = false;
#endif
                purge(0);
                purge(1);
#ifdef TOUCHED_LATE
                touched = false
#endif
            :: else
            fi;
            push()
        :: else
        fi;
        mine = false;
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
        do
        :: block < BLOCKS ->
            assert(link[block] != REMOTE || inbox);
            assert(link[block] != REMOTE || purged[block] || touched);
            block++
        :: else -> break
        od
    }
}
