/* SPDX-License-Identifier: MIT */
/*
 * tests/models/rcu_sections.pml - publish, read, retire, reclaim, as in src/rcu/rcu.c.
 *
 * Readers borrow the one liburcu record by a compare-and-swap on its counter, or are guests when it
 * is taken. A writer publishes another object and retires the old one. The reclaimer takes what is
 * retired, sees the record free once, runs liburcu's grace period (two waits, a phase flip before
 * each second one), sees the guest counter at 0 once, and only then frees.
 *
 * Claim: what a reader reached through the published pointer inside its section is not freed before
 * the section ends. Interleavings only (sequential consistency); the orders of the C code are held
 * by the thread sanitizer and scripts/mutate-orders.
 *
 * Planted faults, each of which the model must find:
 *   NO_GUESTS             the reclaimer does not look at the guest counter
 *   NO_GRACE              it neither waits for the record nor runs a grace period
 *   RETIRE_FIRST          the writer retires before it publishes the successor
 *   NO_SETTLE ONE_PHASE   liburcu alone, with one wait only (NO_SETTLE alone must hold)
 *   EARLY_ENTER           a reader reads the pointer before it has borrowed the record
 */
#define READERS 2
#define OBJECTS 3
#define ROUNDS  2

#define FREE    0
#define LIVE    1
#define RETIRED 2
#define BATCH   3

#define NEST(c)  ((c) & 1)
#define PHASE(c) ((c) & 2)

byte state[OBJECTS];
byte published = 0;
byte gp = 1;        /* liburcu's urcu_bp_gp.ctr: nesting 1, phase in bit 1 */
byte counter = 0;   /* the record's counter */
byte guests = 0;
byte writers_left = 1;

inline read_side(seen)
{
    seen = published;
    assert(state[seen] != FREE);
    /* Any number of steps of others may come in between. */
    assert(state[seen] != FREE);
}

proctype reader()
{
    byte seen, entered, round = 0;
    bool borrowed;
    do
    :: round < ROUNDS ->
#ifdef EARLY_ENTER
        seen = published;
#endif
        entered = gp;
        atomic {
            if
            :: !NEST(counter) -> counter = entered; borrowed = true
            :: else -> borrowed = false
            fi
        }
        if
        :: !borrowed -> guests++
        :: else
        fi;
#ifdef EARLY_ENTER
        assert(state[seen] != FREE);
#else
        read_side(seen);
#endif
        if
        :: borrowed -> counter = 0
        :: else -> guests--
        fi;
        round++
    :: else -> break
    od
}

proctype writer()
{
    byte fresh, old, round = 0;
    do
    :: round < ROUNDS ->
        /* Without a free object the pool makes another; the model waits instead. */
        atomic {
            if
            :: state[0] == FREE -> fresh = 0
            :: state[1] == FREE -> fresh = 1
            :: state[2] == FREE -> fresh = 2
            fi;
            state[fresh] = LIVE
        }
        old = published;
#ifdef RETIRE_FIRST
        state[old] = RETIRED;
        published = fresh;
#else
        published = fresh;
        state[old] = RETIRED;
#endif
        round++
    :: else -> break
    od;
    writers_left--
}

/* liburcu's wait: until no reader is of a phase other than gp's. */
inline wait_for_readers()
{
    (!NEST(counter) || PHASE(counter) == PHASE(gp))
}

inline grace_period()
{
#ifndef NO_SETTLE
    !NEST(counter);
#endif
    /* The first wait is for readers that took the phase before the last flip. */
#ifndef ONE_PHASE
    wait_for_readers();
#endif
    gp = gp ^ 2;
    wait_for_readers();
}

proctype reclaimer()
{
    byte i;
    bool any;
    do
    :: atomic {
           i = 0;
           any = false;
           do
           :: i < OBJECTS ->
               if
               :: state[i] == RETIRED -> state[i] = BATCH; any = true
               :: else
               fi;
               i++
           :: else -> break
           od
       }
       if
       :: any ->
#ifndef NO_GRACE
           grace_period();
#endif
#ifndef NO_GUESTS
           guests == 0;
#endif
           atomic {
               i = 0;
               do
               :: i < OBJECTS ->
                   if
                   :: state[i] == BATCH -> state[i] = FREE
                   :: else
                   fi;
                   i++
               :: else -> break
               od
           }
       :: !any && writers_left == 0 -> break
       :: else -> (state[0] == RETIRED || state[1] == RETIRED || state[2] == RETIRED ||
                   writers_left == 0)
       fi
    od
}

init
{
    byte i = 0;
    atomic {
        state[0] = LIVE;
        do
        :: i < READERS -> run reader(); i++
        :: else -> break
        od;
        run writer();
        run reclaimer()
    }
}
