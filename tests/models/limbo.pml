/* SPDX-License-Identifier: MIT */
/*
 * tests/models/limbo.pml - a retired run waits until no section can look at it as what it was, as in
 * src/slab/carve.c (hhi_slab_retire, hhi_limbo_advance, hhi_slab_carve), src/slab/guard.c and the
 * guarded frees of src/heap/alloc.c. Labels GD-1, GD-2, GD-4, SL-5.
 *
 * One run. Two threads free a block they do not have (the program is wrong): each opens a section,
 * looks at the run's kind, and, if it is a slab, at its class and its links, and marks a link. The
 * owner retires the slab, and carves the run again: for its own class out of limbo, or for the other
 * class once it was released. A third thread advances the epoch and releases what no open section
 * may have seen; the sweeper advances the epoch without the limbo's lock.
 *
 * Claims: what a section found stays as it is until its end (but for a retirement, and carving for
 * the same class and heap); no mark hits a link of another class. Interleavings only.
 *
 * Planted faults, each of which the model must find:
 *   NO_SECTION     frees open no section
 *   NO_LOOK        what is in limbo is released without a look at the guards
 *   STAMP_FIRST    the stamp is taken before the kind says limbo
 *   ENTER_LATE     a section is opened after the look at the kind
 *   SAME_EPOCH     what was retired in the oldest section's own epoch is released too
 */
#define FREERS 2
#ifndef ROUNDS
#define ROUNDS 2 /* times the run is retired */
#endif
#ifndef FREES
#define FREES 1 /* by each freer */
#endif
#ifndef SWEEPS
#define SWEEPS 1
#endif
#ifndef ADVANCES
#define ADVANCES 2
#endif

#define NONE  0
#define SLAB  1
#define LIMBO 2

#define FREE   0
#define LIVE   1
#define REMOTE 2

byte epoch = 1;
byte guard[FREERS];  /* 0: no section is open */
byte kind = SLAB;
bit class;           /* of the run; the links of class 0 are links[0] */
byte links[2];
bool limbo_lock;
bool in_limbo;       /* the run is in limbo's list */
byte stamp;
/* What only the claims look at. */
byte lives = 1;      /* times the run was carved out of nothing */

proctype freer(byte me)
{
    byte life, frees, entered;
    bit seen;
    do
    :: frees < FREES ->
        frees++;
#if !defined(NO_SECTION) && !defined(ENTER_LATE)
        entered = epoch;
        guard[me] = entered;
#endif
        if
        :: atomic { kind == SLAB -> life = lives };
#ifdef ENTER_LATE
            entered = epoch;
            guard[me] = entered;
#endif
            atomic { seen = class; assert(life == lives) };
            atomic {
                assert(life == lives);
                if
                :: links[seen] == LIVE -> links[seen] = REMOTE
                :: else
                fi
            };
            /* The token, touched, the owner and its heap are looked at in the same way. */
            assert(life == lives)
        :: kind != SLAB
        fi;
        atomic { guard[me] = 0; life = 0; seen = 0; entered = 0 }
    :: else -> break
    od
}

inline lock()
{
    atomic { !limbo_lock -> limbo_lock = true }
}

inline unlock()
{
    limbo_lock = false
}

/* The owner has found that no block is live, and has the token. */
inline retire()
{
#ifdef STAMP_FIRST
    at = epoch;
#endif
    if
    :: links[class] == REMOTE -> links[class] = FREE
    :: else
    fi;
    kind = LIMBO;
    lock();
#ifdef STAMP_FIRST
    stamp = at;
#else
    stamp = epoch;
#endif
    in_limbo = true;
    unlock()
}

/* Out of limbo for the same class, or out of nothing for the other. */
inline carve()
{
    if
    :: atomic { !limbo_lock && in_limbo -> in_limbo = false } /* under the lock */
    :: kind == NONE ->
        class = 1 - class;
        links[class] = FREE
    fi;
    kind = SLAB;
    links[class] = LIVE
}

proctype owner()
{
    byte rounds, at;
    do
    :: rounds < ROUNDS ->
        rounds++;
        /* Its last block is freed before. */
        links[class] = FREE;
        retire();
        if
        :: carve()
        :: break
        fi
    :: else -> break
    od
}

inline advance()
{
    epoch++;
    i = 0;
    oldest = 255;
    do
    :: i < FREERS ->
        atomic {
            if
            :: guard[i] != 0 && guard[i] < oldest -> oldest = guard[i]
            :: else
            fi
        };
        i++
    :: else -> break
    od;
    i = 0
}

proctype releaser()
{
    byte i, oldest, advances;
    do
    :: advances < ADVANCES ->
        advances++;
        lock();
        if
        :: in_limbo ->
            advance();
#ifdef NO_LOOK
            oldest = 255;
#endif
            if
#ifdef SAME_EPOCH
            :: stamp <= oldest ->
#else
            :: stamp < oldest ->
#endif
                in_limbo = false;
                atomic { kind = NONE; lives++ }
            :: else
            fi
        :: else
        fi;
        oldest = 0;
        unlock()
    :: break
    od
}

proctype sweeper()
{
    byte sweeps;
    do
    :: sweeps < SWEEPS -> sweeps++; epoch++
    :: break
    od
}

init
{
    atomic {
        links[0] = LIVE;
        run freer(0);
        run freer(1);
        run owner();
        run releaser();
        run sweeper()
    }
}
