/* The protocol of docs/retention.md: one scope, two writers, two sweeps, an engine, a clock, and with FORGER somebody who
 * can write to the store and has no key.
 *
 * The scope has two objects. B is a payload that both writers come across, Z one that the second writer stores as a delta
 * against B if it knows that B is there. Each step is one request to the store or the engine; between any two of them
 * everybody else can go on, and time can pass as far as a bound allows. A process can die instead of any step, and what
 * it asked for last takes effect or does not.
 *
 * Times are ages, in abstract units, kept only as far as anybody can tell them apart, so there is no end of time. What is
 * there holds 1 + its age by the store's clock, what is not holds 0. Every stamp may be off by SKEW.
 *
 * With TENANT_SCOPE it is that of a tenant: journals refer to what is in it, and no engine tells. Each BREAK_ macro takes one
 * rule out. With any of them an assertion has to fail.
 */

#ifndef SKEW
#define SKEW 1      /* how far apart two stamps of the same moment are */
#endif
#define GRACE (TRUST + VISIBLE + 1 + SKEW)
#ifndef TRUST
#define TRUST 1     /* TRUSTED_FOR */
#endif
#ifndef VISIBLE
#define VISIBLE 1   /* from the beginning of a write until the engine shows what was journaled */
#endif
#ifndef SWEEP
#define SWEEP 1     /* from the beginning of a sweep, less SKEW, until its mark or claim takes effect */
#endif
#ifndef HOLD
#define HOLD 1      /* from a claim until its owner's last request takes effect */
#endif
#define TAKE (HOLD + SKEW + 1)   /* TAKEN_OVER_AFTER */
#ifndef CLAIMS
#define CLAIMS 3    /* at most 3; the owner of the last one does not die */
#endif

#define OLDEST (GRACE + 2 + SWEEP + SKEW + HOLD)
#define OLDEST_CLAIM (TAKE + 1 + SWEEP + SKEW)

#ifdef BREAK_TRUSTS_LONGER_THAN_THE_GRACE
#define TRUSTED (GRACE + 4)
#else
#define TRUSTED TRUST
#endif
#ifdef BREAK_TAKES_OVER_EARLY
#define ABANDONED 0
#else
#define ABANDONED TAKE
#endif

/* The store. */
byte b, z, alive, tombstone;
byte claim[3];
bool deleting;
bool planted;                     /* what stands in the place of the mark is not authentic */
bool z_is_delta;
bool b_old, z_old, alive_old;     /* not after the tombstone less a grace */
bool b_gone, z_gone, alive_gone;  /* not after the mark less a grace that DELETING goes with */

/* The engine: what journals that it shows refer to. */
bool b_live, z_live, z_delta_live;
bool scheduled;                   /* B is the last result of a schedule's runs, which the next one will be handed */
byte handed;                      /* 1 + age of a run that was handed it, and is not shown yet */

/* The processes, as far as others can tell. */
byte writing[2];              /* 1 + age of what a writer is at; 0: nothing */
byte sign[2];                 /* 1 + age of the last sign of life that it knows of */
byte looked[2];                 /* 1 + age of its look for a tombstone, while it goes on to a claim */
bool knows_b[2], confirmed[2];
byte knows_z[2];              /* 1: whole, 2: as a delta */
#ifdef BREAK_READS_BEFORE_IT_LOOKS
bool read_b[2];
#endif
bool b_unseen[2], z_unseen[2], z_delta_unseen[2];   /* journaled perhaps, and not shown yet */
byte sweeping[2], owning[2];  /* 1 + age of a sweep by the store's clock, and of its claim */

#define WRITTEN_TO ((b && !b_old) || (z && !z_old) || (alive && !alive_old))
#define CLAIMED (claim[0] || claim[1] || claim[2])
#define IDLE(thing, now) (!thing || thing - now > GRACE)

#define B_NEEDED (b_live || scheduled || handed || z_delta_live || b_unseen[0] || b_unseen[1] || z_delta_unseen[0] || z_delta_unseen[1])
#define Z_NEEDED (z_live || z_unseen[0] || z_unseen[1])
inline nothing_is_lost() { assert(b || !B_NEEDED); assert(z || !Z_NEEDED) }
inline refer_to_b() { b_unseen[me] = true; nothing_is_lost() }
inline refer_to_z(delta) { z_unseen[me] = true; z_delta_unseen[me] = delta; nothing_is_lost() }

inline stamp(thing) { if :: thing = 1 :: thing = 1 + SKEW fi }
inline create(thing, old, gone) { stamp(thing); old = false; gone = false }
inline remove(thing, old, gone) { thing = 0; old = false; gone = false }
inline mark() {
    stamp(tombstone);
    planted = false;
    b_old = b && b >= tombstone + GRACE;
    z_old = z && z >= tombstone + GRACE;
    alive_old = alive && alive >= tombstone + GRACE;
    /* All that is older than that is as old as can be. */
    if :: b_old -> b = OLDEST :: else fi;
    if :: z_old -> z = OLDEST :: else fi;
    if :: alive_old -> alive = OLDEST :: else fi
}
inline unmark() { tombstone = 0; planted = false; b_old = false; z_old = false; alive_old = false }
/* Whoever takes the last look reads in the mark what may go, and writes it into DELETING. */
inline read_mark() {
    if
    :: !deleting -> b_gone = b_old; z_gone = z_old; alive_gone = alive_old
    :: else
    fi
}
inline forget_mark() {
    if
    :: !deleting -> b_gone = false; z_gone = false; alive_gone = false
    :: else
    fi
}
inline end_deleting() { deleting = false; forget_mark() }

#define NOTHING 0
#define MARK 1
#define DELETE_OR_SPARE 2
#define WAIT_OR_SPARE 3
#define TAKE_OVER 4
#define SPARE 5
#define DELETE 6

#ifdef TENANT_SCOPE
#define SHOWN false
#else
#ifdef BREAK_FORGETS_SCHEDULES
#define SHOWN (b_live || z_live)
#else
#define SHOWN (b_live || z_live || scheduled)
#endif
#endif
#ifdef TENANT_SCOPE
#ifndef BREAK_SWEEPS_THE_TENANT_SCOPE
#define IS_SWEPT false
#endif
#endif
#ifndef IS_SWEPT
#define IS_SWEPT true
#endif

inline judge(now) {
    if
    :: !IS_SWEPT
    :: IS_SWEPT && CLAIMED ->
        number = (claim[2] -> 2 : (claim[1] -> 1 : 0));
        if
        :: claim[number] - now >= ABANDONED && number < CLAIMS - 1 -> number++; todo = TAKE_OVER
        :: else -> number = 0
        fi
    :: IS_SWEPT && !CLAIMED && (!tombstone || WRITTEN_TO) ->
        if
        :: (b || z || alive) && IDLE(b, now) && IDLE(z, now) && IDLE(alive, now) -> todo = MARK
        :: else
        fi
    :: IS_SWEPT && !CLAIMED && tombstone && !WRITTEN_TO -> todo = (tombstone - now >= GRACE -> DELETE_OR_SPARE : WAIT_OR_SPARE)
    fi
}

inline forget(i) {
    knows_b[i] = false; knows_z[i] = 0; confirmed[i] = false; sign[i] = 0;
#ifdef BREAK_READS_BEFORE_IT_LOOKS
    read_b[i] = false
#endif
}
#ifdef BREAK_READS_BEFORE_IT_LOOKS
#define KNOWS(i) (knows_b[i] || knows_z[i] || confirmed[i] || read_b[i])
#else
#define KNOWS(i) (knows_b[i] || knows_z[i] || confirmed[i])
#endif
inline end_op() {
    b_unseen[me] = false; z_unseen[me] = false; z_delta_unseen[me] = false;
    base = false; at_z = false; reads = false; writing[me] = 0; looked[me] = 0;
    if :: !KNOWS(me) || sign[me] > 1 + TRUSTED -> forget(me) :: else fi
}

inline trust() {
    confirmed[me] = true;
#ifdef BREAK_TRUSTS_FROM_THE_END_OF_ITS_LOOK
    looked[me] = 0;
#endif
    /* From before the look: a sweep that was at work may have deleted what it wrote there. */
    if
    :: !looked[me] -> sign[me] = 1
    :: looked[me] && looked[me] < sign[me] -> sign[me] = looked[me]
    :: else
    fi;
    looked[me] = 0;
#ifdef BREAK_READS_BEFORE_IT_LOOKS
    knows_b[me] = knows_b[me] || read_b[me];
#endif
#ifdef BREAK_FOUND_BEFORE_IT_LOOKED
    if
    :: !reads && !at_z -> knows_b[me] = true; refer_to_b(); goto journaled
    :: at_z -> refer_to_z(z_is_delta); goto journaled
    :: else
    fi
#endif
}

#ifdef BREAK_TAKES_A_PLANTED_MARK_FOR_NONE
#define MAY_BE_MARKED (tombstone)
#else
#define MAY_BE_MARKED (tombstone || planted)
#endif

/* With a memory of its own. One writes B; the other reads B, and writes Z. */
proctype Writer(bit me; bit writes_b) {
    bool base, at_z, reads;

idle:
    atomic {
        writing[me] = 1;
        if :: !KNOWS(me) -> sign[me] = 1 :: else fi;
        base = knows_b[me];
        if
        :: writes_b && knows_b[me] -> refer_to_b(); goto journaled     /* no request at all */
        :: writes_b && !knows_b[me]
        :: !writes_b && !knows_b[me] -> reads = true
        :: !writes_b && knows_z[me] -> refer_to_z(knows_z[me] == 2); goto journaled
        :: !writes_b && !knows_z[me] -> at_z = true
        fi
    };
offer:
    if
    :: atomic { reads && confirmed[me] -> knows_b[me] = knows_b[me] || b; end_op(); goto idle }
    :: atomic { reads && !confirmed[me] -> goto look }
#ifdef BREAK_READS_BEFORE_IT_LOOKS
    :: atomic { reads && !confirmed[me] -> read_b[me] = b > 0; end_op(); goto idle }
#endif
    :: atomic { !reads && !at_z && !b ->
        create(b, b_old, b_gone); knows_b[me] = true; sign[me] = 1; refer_to_b(); goto journaled }
    :: atomic { !reads && !at_z && b && confirmed[me] -> knows_b[me] = true; refer_to_b(); goto journaled }
    :: atomic { at_z && !z ->
        create(z, z_old, z_gone); z_is_delta = base; knows_z[me] = 1 + base; sign[me] = 1;
        refer_to_z(base); goto journaled }
    :: atomic { at_z && z && confirmed[me] ->
        knows_z[me] = 1 + z_is_delta; refer_to_z(z_is_delta); goto journaled }
    :: atomic { !reads && !confirmed[me] && (at_z -> z > 0 : b > 0) -> goto look }
    :: atomic { forget(me); end_op(); goto idle }
    fi;
look:
    /* It is about to rely on what it did not write. */
    if
#ifdef BREAK_WRITER_DOES_NOT_LOOK
    :: atomic { trust(); goto offer }
#else
    :: atomic { !MAY_BE_MARKED -> trust(); goto offer }
    :: atomic { MAY_BE_MARKED -> looked[me] = 1 }
#endif
    :: atomic { forget(me); end_op(); goto idle }
    fi;
#ifndef BREAK_NO_ALIVE
    if
    :: atomic { create(alive, alive_old, alive_gone) }
    :: atomic { forget(me); end_op(); goto idle }
    fi;
#endif
    if
#ifdef BREAK_WRITER_LOOKS_FOR_NO_CLAIM
    :: atomic { trust(); goto offer }
#else
    :: atomic { CLAIMED -> end_op(); goto idle }           /* StoreUnavailable */
    :: atomic { !CLAIMED -> trust(); goto offer }
#endif
    :: atomic { forget(me); end_op(); goto idle }
    fi;

journaled:
    if
    :: atomic {
        b_live = b_live || b_unseen[me];
        z_live = z_live || z_unseen[me];
        z_delta_live = z_delta_live || z_delta_unseen[me];
        end_op(); goto idle }
    :: atomic { end_op(); goto idle }                      /* nobody journaled it, or the run is deleted already */
    :: atomic { forget(me); end_op(); goto idle }
    fi
}

inline stop() {
    todo = NOTHING; number = 0; needed = false; written = false; marked = false;
    forget_mark(); del_b = false; del_z = false; del_alive = false; sweeping[me] = 0; owning[me] = 0; goto idle
}
#define DIES atomic { number < CLAIMS - 1 -> stop() }

/* One sweep after the other. */
proctype Sweeper(bit me) {
    byte todo, number;
    bool needed, written, marked, del_b, del_z, del_alive;

idle:
    atomic { stamp(sweeping[me]); judge(sweeping[me]); if :: todo == NOTHING -> stop() :: else fi };
    atomic {
#ifdef BREAK_DOES_NOT_ASK_AGAIN
        needed = SHOWN && todo != DELETE_OR_SPARE;
#else
        needed = SHOWN;
#endif
        if
        :: todo == MARK && needed -> stop()
        :: todo == DELETE_OR_SPARE -> todo = (needed -> SPARE : DELETE)
        :: todo == WAIT_OR_SPARE && needed -> todo = SPARE
        :: todo == WAIT_OR_SPARE && !needed -> stop()
        :: else
        fi
    };
    if
    :: atomic { todo == MARK -> mark(); stop() }
    :: atomic { todo == SPARE -> create(alive, alive_old, alive_gone);
#ifdef BREAK_SPARING_REMOVES_THE_TOMBSTONE
        unmark();
#endif
        stop() }
#ifdef BREAK_DELETES_WITHOUT_A_CLAIM
    :: atomic { todo == TAKE_OVER || todo == DELETE -> owning[me] = 1 }
#else
    :: atomic { (todo == TAKE_OVER || todo == DELETE) && !claim[number] -> stamp(claim[number]); owning[me] = 1 }
    :: atomic { (todo == TAKE_OVER || todo == DELETE) && claim[number] -> stop() }
#endif
    :: atomic { stop() }
    fi;

    /* The last look. */
    atomic {
        marked = tombstone > 0; written = WRITTEN_TO; read_mark();
#ifdef BREAK_NO_LAST_LOOK
        goto begin;
#endif
        if
        :: deleting && needed -> marked = true; needed = false; written = false; goto repair
        :: deleting && !needed -> written = false; goto finish
        :: !deleting && (!tombstone || needed || written) -> needed = false; written = false; goto withdraw
        :: !deleting && tombstone && !needed && !written ->
            written = false;
            if
            :: tombstone - sweeping[me] < GRACE -> marked = false; goto withdraw
            :: else
            fi
        fi
    };
begin:
#ifndef BREAK_DOES_NOT_SAY_THAT_IT_DELETES
    if
    :: atomic { deleting = true }
    :: DIES
    fi;
#endif
finish:
    atomic {
        marked = true;
#ifdef BREAK_DELETES_WHAT_IS_NEWER
        del_b = b > 0; del_z = z > 0; del_alive = alive > 0
#else
        del_b = b && b_gone; del_z = z && z_gone; del_alive = alive && alive_gone
#endif
    };
    do
    :: atomic { del_b -> remove(b, b_old, b_gone); del_b = false; nothing_is_lost() }
    :: atomic { del_z -> remove(z, z_old, z_gone); z_is_delta = false; del_z = false; nothing_is_lost() }
    :: atomic { del_alive -> remove(alive, alive_old, alive_gone); del_alive = false }
    :: !del_b && !del_z && !del_alive -> break
    :: DIES
    od;
    goto withdraw;
repair:
    /* It has a run by now: nothing of it goes, but what cannot be opened any more. */
    if
    :: atomic { z && z_is_delta && !b && z_gone -> remove(z, z_old, z_gone); z_is_delta = false; nothing_is_lost() }
    :: !(z && z_is_delta && !b && z_gone)
    :: DIES
    fi;
withdraw:
#ifdef BREAK_REMOVES_THE_MARK_FIRST
    if
    :: atomic { marked -> unmark() }
    :: DIES
    :: !marked
    fi;
#endif
    if
    :: atomic { marked -> end_deleting() }
    :: DIES
    :: !marked
    fi;
    if
    :: atomic { marked -> unmark() }
    :: DIES
    :: !marked
    fi;
    do
    :: atomic { claim[number] = 0; if :: number == 0 -> stop() :: else -> number-- fi }
    :: DIES
    od
}

/* A reset, a retry or continue-as-new refers to what its run refers to, so nothing changes; a run can be deleted. A schedule
 * keeps what its last run gave back, whether or not that is still there, until it is deleted itself. */
proctype Engine() {
    do
    :: atomic { b_live -> b_live = false }
#ifdef SCHEDULES
    :: atomic { scheduled -> scheduled = false }
    :: atomic { scheduled && !handed -> handed = 1; nothing_is_lost() }
    :: atomic { handed -> handed = 0; b_live = true }
    :: atomic { handed -> handed = 0 }
#endif
    :: atomic { z_live -> z_live = false; z_delta_live = false }
    od
}

/* Whatever it writes is not authentic, or was not written when it says. Leases and DELETING bear the mark's id and take
 * numbers above those that are there, so that nobody can be kept from making them. */
proctype Forger() {
    do
    :: atomic { tombstone || !planted -> unmark(); planted = true }
#ifdef BREAK_BELIEVES_WHAT_NO_SWEEP_MADE
    :: atomic { tombstone = OLDEST; b_old = b > 0; z_old = z > 0; alive_old = alive > 0 }
#endif
#ifdef BREAK_BELIEVES_WHAT_WAS_PUT_BACK
    /* DELETING and a lease, from before all that is there was written. */
    :: atomic { !deleting && !claim[0] -> claim[0] = OLDEST_CLAIM; deleting = true;
        b_gone = b > 0; z_gone = z > 0; alive_gone = alive > 0 }
#endif
    od
}

inline age(thing, oldest) { if :: thing && thing < oldest -> thing++ :: else fi }
#define MAY_WAIT(i) (handed <= VISIBLE && writing[i] <= VISIBLE && (owning[i] -> owning[i] <= HOLD : sweeping[i] <= SWEEP + SKEW))

proctype Clock() {
    do
    :: d_step { MAY_WAIT(0) && MAY_WAIT(1) ->
        age(b, OLDEST); age(z, OLDEST); age(alive, OLDEST); age(tombstone, OLDEST);
        age(claim[0], OLDEST_CLAIM); age(claim[1], OLDEST_CLAIM); age(claim[2], OLDEST_CLAIM);
        age(writing[0], 255); age(writing[1], 255); age(sweeping[0], 255); age(sweeping[1], 255);
        age(handed, 255);
        age(owning[0], 255); age(owning[1], 255); age(looked[0], 255); age(looked[1], 255);
        age(sign[0], 2 + TRUSTED); age(sign[1], 2 + TRUSTED);
        if :: !writing[0] && sign[0] > 1 + TRUSTED -> forget(0) :: else fi;
        if :: !writing[1] && sign[1] > 1 + TRUSTED -> forget(1) :: else fi }
    od
}

/* Whatever the moment: if everybody died now and all runs were deleted, sweeps that follow, each a grace and some after
 * the one before, would leave nothing. One ends what was begun, one marks, one deletes. */
#define WRITTEN_TO_NOW ((eb && !eb_old) || (ez && !ez_old) || (ea && !ea_old))
proctype End() {
    bool eb, ez, ea, eb_old, ez_old, ea_old, tomb, del, claimed;
    byte count;
    do
    :: d_step {
        eb = b > 0; ez = z > 0; ea = alive > 0; tomb = tombstone > 0; del = deleting; claimed = CLAIMED;
        eb_old = (del -> b_gone : b_old); ez_old = (del -> z_gone : z_old); ea_old = (del -> alive_gone : alive_old);
        do
        :: count == 3 -> break
        :: else ->
            if
            :: claimed && !del && (!tomb || WRITTEN_TO_NOW) ->
                claimed = false; tomb = false; eb_old = false; ez_old = false; ea_old = false
            :: del || (tomb && !WRITTEN_TO_NOW) ->
                eb = eb && !eb_old; ez = ez && !ez_old; ea = ea && !ea_old;
                claimed = false; del = false; tomb = false; eb_old = false; ez_old = false; ea_old = false
            :: else -> tomb = eb || ez || ea; eb_old = eb; ez_old = ez; ea_old = ea
            fi;
            count++
        od;
        assert(!IS_SWEPT || (!eb && !ez));
        eb = false; ez = false; ea = false; eb_old = false; ez_old = false; ea_old = false;
        tomb = false; del = false; claimed = false; count = 0 }
    od
}

init {
    atomic {
        /* Somebody wrote B, and nobody knows whether for a run that is still there. */
        if :: b = OLDEST; b_live = true :: b = OLDEST :: skip fi;
#ifdef SCHEDULES
        if :: b_live -> scheduled = true :: else fi;
#endif
        run Writer(1, 0); run Sweeper(0); run Engine(); run Clock(); run End();
#ifdef FORGER
        run Forger();
#endif
#ifndef ONE_WRITER
        run Writer(0, 1);
#endif
#ifndef ONE_SWEEP
        run Sweeper(1);
#endif
    }
}
