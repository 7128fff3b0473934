/* SPDX-License-Identifier: MIT */
/*
 * tests/models/handover.pml - a slab goes from hand to hand while its blocks are freed, as in
 * src/heap/thread.c (orphans), src/heap/thread_cache.c (slab_disown, hhi_cache_share_all,
 * cache_adopt, arrival_settle), src/heap/alloc.c (hhi_slab_tell), src/heap/heap.c (shared slabs) and src/heap/sweep.c
 * (pass_shared_slab, pass_orphans). Labels SL-2, SL-3, SL-4.
 *
 * One slab of two live blocks and maybe a third, full, owned by the cache of record 0. Its thread may drain its
 * inbox and then ends: the record becomes an orphan. A thread with record 1 and the sweeper take the
 * orphan and share what it has; the thread adopts the shared slab, the sweeper collects from it and
 * purges it; whoever finds it empty retires it. Two threads free a block each.
 *
 * Claims: one thread at a time runs a record, collects from the slab or holds its token; nobody puts
 * a slab that has no owner or is retired into an inbox; a retired slab has no block that is live or
 * marked; at the end the slab has an owner, or is shared, or is retired, and if a block is marked,
 * it is in its owner's inbox, or it is shared and the sweeper will look at it. Interleavings only.
 *
 * Planted faults, each of which the model must find:
 *   DISOWN_UNTAKEN  the owner is taken away without the token
 *   RETIRE_UNTAKEN  an empty slab is retired without its token
 *   ADOPT_LATE      the token is given before the owner is named
 *   ADOPT_UNSEEN    the links are not looked at after the adoption
 *   TOUCHED_LATE    the sweeper clears touched after its look at the links
 *   ORPHAN_SPLIT    an orphan is taken without the lock
 */
#ifndef STEPS
#define STEPS 2 /* of each that takes orphans or shared slabs */
#endif
#ifndef DRAINS
#define DRAINS 0 /* by the thread that ends */
#endif

#define RECORDS 2
#define NOBODY  2
#define BLOCKS  2

#define FREE   0
#define LIVE   1
#define REMOTE 2

byte link[BLOCKS];
byte owner = 0;         /* a record's cache, or NOBODY */
bool token, touched;
bool purged;            /* nothing was freed since the last purge, if it is not touched */
bool inbox[RECORDS];    /* holds the slab, or nothing */
bool partial[RECORDS];  /* the cache's list of slabs with free blocks */
bool shared, retired;   /* in the heap's list; gone */
bool orphan;            /* record 0 is in the list of orphans */
bool kept;              /* a third block stays live for ever */
byte working = 5;       /* processes that are not done */
/* What only the claims look at. */
bool held;              /* the token is in somebody's hands, an inbox, or the heap's list */
bool running[RECORDS];
bool collecting;

proctype freer(byte block)
{
    bool told;
    byte to;
    link[block] = REMOTE; /* live, and freed here alone */
    if
    :: !token || !touched -> /* both are bits of notice */
        atomic {
            told = !token;
            token = true;
            touched = true;
            if
            :: told -> assert(!held); held = true
            :: else
            fi
        }
    :: token && touched
    fi;
    if
    :: told ->
        to = owner;
        atomic {
            assert(to != NOBODY && !retired && !shared);
            assert(!inbox[to]);
            inbox[to] = true
        }
    :: else
    fi;
    working--
}

inline token_take(taken)
{
    atomic {
        taken = !token;
        token = true;
        if
        :: taken -> assert(!held); held = true
        :: else
        fi
    }
}

inline token_give()
{
    atomic { assert(held || retired); token = false; touched = false; held = false }
}

inline collect()
{
    atomic { assert(!collecting && !retired); collecting = true };
    atomic { was[0] = link[0]; was[1] = link[1] };
    if
    :: was[0] == REMOTE -> atomic { assert(link[0] == REMOTE); link[0] = FREE }
    :: else
    fi;
    if
    :: was[1] == REMOTE -> atomic { assert(link[1] == REMOTE); link[1] = FREE }
    :: else
    fi;
    atomic { was[0] = 0; was[1] = 0; collecting = false }
}

#define EMPTY (!kept && link[0] != LIVE && link[1] != LIVE)

/* The token is in the caller's hands, no list holds the slab. */
inline retire()
{
    collect();
    atomic { assert(EMPTY && link[0] == FREE && link[1] == FREE && !shared); retired = true }
}

inline disown(cache, done)
{
#ifdef DISOWN_UNTAKEN
    done = true;
#else
    token_take(done);
#endif
    if
    :: done -> atomic { partial[cache] = false; owner = NOBODY }
    :: else
    fi
}

inline disown_empty(cache, done)
{
#ifdef RETIRE_UNTAKEN
    done = true;
    partial[cache] = false;
#else
    disown(cache, done);
#endif
}

inline drain(cache)
{
    atomic { got = inbox[cache]; inbox[cache] = false };
    if
    :: got ->
        assert(owner == cache && !shared);
        token_give();
        collect();
        /* A full slab comes back when a block of it is free; one that is empty goes. */
        if
        :: link[0] == FREE || link[1] == FREE ->
            partial[cache] = true;
            if
            :: EMPTY ->
                disown_empty(cache, got);
                if
                :: got -> retire()
                :: else
                fi
            :: else
            fi
        :: else
        fi
    :: else
    fi;
    got = false
}

inline share_all(cache)
{
    drain(cache);
    if
    :: partial[cache] ->
        if
        :: EMPTY ->
            disown_empty(cache, got);
            if
            :: got -> retire()
            :: else
            fi
        :: else ->
            disown(cache, got);
            if
            :: got -> purged = false; atomic { assert(!shared); shared = true }
            :: else
            fi
        fi
    :: else
    fi;
    got = false
}

inline orphan_take()
{
#ifdef ORPHAN_SPLIT
    mine = orphan;
    orphan = false;
#else
    atomic { mine = orphan; orphan = false };
#endif
    atomic {
        if
        :: mine -> assert(!running[0]); running[0] = true
        :: else
        fi
    }
}

inline orphan_put()
{
    atomic { running[0] = false; orphan = true; mine = false }
}

inline share_orphan()
{
    orphan_take();
    if
    :: mine -> share_all(0); orphan_put()
    :: else
    fi
}

inline shared_take()
{
    atomic { mine = shared; shared = false }
}

proctype ending()
{
    byte drains;
    bool got;
    byte was[BLOCKS];
    do
    :: drains < DRAINS -> drains++; drain(0)
    :: break
    od;
    atomic { running[0] = false; orphan = true };
    working--
}

proctype adopter()
{
    byte steps;
    bool got, mine;
    byte was[BLOCKS];
    do
    :: steps < STEPS && orphan -> steps++; share_orphan()
    :: steps < STEPS && shared ->
        steps++;
        shared_take();
        if
        :: mine ->
#ifndef ADOPT_LATE
            owner = 1;
#endif
            token_give();
#ifdef ADOPT_LATE
            owner = 1;
#endif
#ifndef ADOPT_UNSEEN
            collect();
#endif
            mine = false;
            if
            :: link[0] == FREE || link[1] == FREE -> partial[1] = true
            :: else
            fi
        :: else
        fi
    :: steps < STEPS && inbox[1] -> steps++; drain(1)
    :: steps < STEPS && partial[1] -> steps++; share_all(1)
    :: break
    od;
    working--
}

proctype sweeper()
{
    byte steps;
    bool got, mine;
    byte was[BLOCKS];
    do
    :: steps < STEPS && orphan -> steps++; share_orphan()
    :: steps < STEPS && shared ->
        steps++;
        shared_take();
        if
        :: mine ->
#ifndef TOUCHED_LATE
            touched = false;
#endif
            collect();
#ifdef TOUCHED_LATE
            touched = false;
#endif
            if
            :: EMPTY -> retire()
            :: else ->
                purged = true;
                atomic { assert(!shared); shared = true }
            fi;
            mine = false
        :: else
        fi
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
        if
        :: kept = true
        :: kept = false
        fi;
        running[0] = true;
        running[1] = true;
        run freer(0);
        run freer(1);
        run ending();
        run adopter();
        run sweeper()
    }
    atomic {
        working == 0;
        assert(retired + shared + (!retired && owner != NOBODY) == 1);
        assert(!shared || (token && owner == NOBODY && !inbox[0] && !inbox[1]));
        do
        :: block < BLOCKS ->
            if
            :: link[block] == REMOTE ->
                assert(!retired && token);
                assert(shared || inbox[owner]);
                assert(!shared || touched || !purged)
            :: else
            fi;
            block++
        :: else -> break
        od
    }
}
