"""Two workers, one saga: the writes of the two never interleave, whoever is late writes nothing."""

import threading
import time
from datetime import timedelta

import psycopg
import pytest

from sagaworker import Fenced
from sagaworker.domain import walk
from sagaworker.domain.moves import Maker, made_by
from sagaworker.domain.status import ErrorClass, RunStatus, StepStatus, WaitingFor
from sagaworker.engine import Engine
from sagaworker.episodes import ThreadPlace
from sagaworker.episodes.heartbeat import Heartbeat
from tests.holding import TIMEOUT, advance, claimed, expire
from tests.showing import timeline
from tests.waiting import PATIENCE, wait_until

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'sagaworker' AND wait_event_type = 'Lock'
"""
ERROR = {"kind": "X", "message": "x"}


@pytest.fixture
def pair(settings):
    with Engine(settings) as one, Engine(settings) as two:
        yield one, two
        assert one.audit() == []


def racing(count, act):
    """Run `act(n)` in so many threads that all start at once; what each returned or raised."""
    barrier = threading.Barrier(count, timeout=PATIENCE)
    answers = [None] * count

    def run(n):
        barrier.wait()
        try:
            answers[n] = act(n)
        except Exception as exc:
            answers[n] = exc

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "each of them must come to an end"
    return answers


def test_of_sixteen_claimers_one_wins(pair):
    one, _ = pair
    for _ in range(5):
        run = one.start("t", ["steps.echo"])
        holds = racing(16, lambda _n, run=run: claimed(one, run.id))
        winners = [hold for hold in holds if hold is not None]
        assert len(winners) == 1, holds
        assert claimed(one, run.id) is None
        assert winners[0].fence == 1
        advance(winners[0], last=True)


def test_a_claim_that_is_answered_after_its_lease_begins_nothing_and_lets_go_at_once(pair, settings):
    lease = 0.5
    with Engine(settings.replace(lease=lease)) as late, psycopg.connect(settings.database_url) as stranger:
        run = late.start("t", ["tests.episodes.steps:Works"])
        stranger.execute("SELECT FROM saga_runs WHERE id = %s FOR UPDATE", (run.id,))
        ends = []
        walker = threading.Thread(
            target=lambda: ends.append(late.run_episode(run.id, place=ThreadPlace())), daemon=True
        )
        walker.start()
        wait_until(lambda: stranger.execute(WAITING).fetchone() == (1,), what="the claim waits for the row")
        sent_before = time.monotonic()
        wait_until(lambda: time.monotonic() > sent_before + lease)
        stranger.rollback()
        walker.join(PATIENCE)
        assert ends[0].outcome == "yielded", timeline(late, run.id)
        assert [episode.outcome for episode in late.timeline(run.id).episodes] == ["yielded"], timeline(late, run.id)
        row = late.list_step_results(run.id)[0]
        assert (row.status, row.attempts, row.in_doubt) == ("pending", 0, 0), timeline(late, run.id)
        assert pair[0].run(run.id).status is RunStatus.COMPLETED


def retried(hold):
    return hold.retry(walk.Retry(delay=0.0, error=ERROR, doubted=True), park=False, undo_timeout=TIMEOUT)


LATE_MOVES = {
    "complete": lambda hold: advance(hold, '{"late": true}', last=True),
    "advance": lambda hold: advance(hold, '{"late": true}'),
    "absent": lambda hold: hold.absent(),
    "retry": retried,
    "fail": lambda hold: hold.fail(
        walk.Fail(reason="x", error_class=ErrorClass.STEP_FAILED, undo_self=True), undo_timeout=TIMEOUT
    ),
    "begin": lambda hold: hold.begin(TIMEOUT),
    "park": lambda hold: hold.park(WaitingFor.OPERATOR, None),
    "yield": lambda hold: hold.yield_(),
}
LATE_UNDOS = {
    "compensated": lambda hold: hold.compensated(
        walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=True, undo_timeout=TIMEOUT
    ),
    "retry": retried,
    "park": lambda hold: hold.park(WaitingFor.QUARANTINE, 60.0),
    "yield": lambda hold: hold.yield_(),
}


def test_every_move_of_a_holder_is_tried_late():
    beside = {"claim", "checkpoint"}  # the first makes a holder; the second is tried beside each of these
    assert LATE_MOVES.keys() | LATE_UNDOS.keys() | beside == made_by(Maker.HOLDER)


@pytest.mark.parametrize("move", LATE_MOVES)
def test_a_late_worker_writes_nothing_into_a_saga_that_was_taken_over(pair, move):
    one, two = pair
    run = one.start("t", ["steps.echo"])
    late = claimed(one, run.id)
    writes_nothing(pair, late, LATE_MOVES[move])
    with pytest.raises(Fenced):
        one.upsert_step_result(run.id, 0, fence=late.fence, output=1)
    assert two.run(run.id).status is RunStatus.COMPLETED, timeline(two, run.id)


@pytest.mark.parametrize("move", LATE_UNDOS)
def test_a_late_worker_writes_nothing_into_an_undo_that_was_taken_over(pair, move):
    one, two = pair
    run = one.start("t", ["steps.echo"])
    late = claimed(one, run.id)
    doubt = walk.Fail(reason="x", error_class=ErrorClass.STEP_IN_DOUBT, undo_self=True, doubted=True)
    assert late.fail(doubt, undo_timeout=TIMEOUT).status is RunStatus.COMPENSATING
    writes_nothing(pair, late, LATE_UNDOS[move])
    assert two.run(run.id).status is RunStatus.ROLLED_BACK, timeline(two, run.id)


def test_a_late_worker_ends_no_doubt_of_a_saga_that_was_taken_over(pair):
    one, two = pair
    run = one.start("t", ["steps.echo"])
    claimed(one, run.id).close()
    one.take_over_dead(one.owner)
    late = claimed(one, run.id)  # inherits the doubt of the first
    writes_nothing(pair, late, lambda hold: hold.absent())
    assert two.run(run.id).status is RunStatus.COMPLETED, timeline(two, run.id)


def writes_nothing(pair, late, move):
    """Its saga is where it left it, but for the fence: nothing else refuses its move."""
    one, two = pair
    expire(one, late.saga_id)
    assert two.sweep().restarted == 1
    before = two.timeline(late.saga_id)
    with pytest.raises(Fenced):
        move(late)
    assert two.timeline(late.saga_id) == before


def test_a_late_worker_cannot_complete_a_saga_that_another_holds(pair):
    one, two = pair
    run = one.start("t", ["steps.echo"])
    late = claimed(one, run.id)
    expire(one, run.id)
    two.sweep()
    new = claimed(two, run.id)
    assert new.fence == late.fence + 2
    assert new.position.row.in_doubt == 1
    assert not new.position.row.begun_here
    with pytest.raises(Fenced):
        advance(late, last=True)
    new.begin(TIMEOUT)
    advance(new, '{"mine": true}', last=True)
    assert two.get(run.id).context == {"mine": True}


def test_an_extended_lease_is_not_taken_over_and_an_expired_one_once(pair):
    one, two = pair
    run = one.start("t", ["steps.echo"])
    hold = claimed(one, run.id)
    expire(one, run.id)
    with one.database.checkout() as connection:  # a beat that comes late, before anybody has swept
        (beat,) = one.ledger.extend([(hold.saga_id, hold.fence)], connection).values()
    assert beat.is_extended
    assert two.sweep().restarted == 0
    expire(one, run.id)
    results = racing(8, lambda n: pair[n % 2].sweep())
    assert sum(result.restarted for result in results) == 1, results
    assert [two.sweep().restarted for _ in range(10)] == [0] * 10
    assert two.get(run.id).recoveries == 1
    with pytest.raises(Fenced):
        advance(hold, last=True)


def test_a_heartbeat_learns_of_a_takeover_and_of_a_cancel(pair):
    one, two = pair
    gone, kept = one.start("t", ["steps.echo"]), one.start("t", ["steps.echo"])
    holds = [claimed(one, run.id) for run in (gone, kept)]
    expire(one, gone.id)
    two.sweep()
    assert two.cancel(kept.id) == "requested"
    with one.database.checkout() as connection:
        held = one.ledger.extend([(hold.saga_id, hold.fence) for hold in holds], connection)
    assert list(held) == [(kept.id, holds[1].fence)]
    assert held[(kept.id, holds[1].fence)].cancel_requested


def test_a_stranger_who_locks_one_episode_costs_only_its_beat_and_fences_nothing(settings):
    short = settings.replace(lease=1.0)
    with Engine(short) as engine, psycopg.connect(settings.database_url) as stranger:
        holds = [claimed(engine, engine.start("t", ["steps.echo"]).id) for _ in range(3)]
        locked, *others = holds
        stranger.execute("SELECT FROM saga_episodes WHERE saga_id = %s FOR UPDATE", [locked.saga_id])
        ends = {hold.saga_id: lease_end(engine, hold) for hold in holds}
        heartbeat = Heartbeat(engine.ledger)
        try:
            for hold in holds:
                heartbeat.add(hold)
            for hold in others:
                wait_until(lambda hold=hold: lease_end(engine, hold) > ends[hold.saga_id] + timedelta(seconds=1))
            assert lease_end(engine, locked) == ends[locked.saga_id]
            assert not any(hold.lease.is_fenced for hold in holds)
            stranger.rollback()
            wait_until(lambda: lease_end(engine, locked) > ends[locked.saga_id])
        finally:
            heartbeat.close()


def test_a_takeover_under_way_fences_when_it_has_committed_and_not_before(pair):
    one, _ = pair
    run = one.start("t", ["steps.echo"])
    hold = claimed(one, run.id)
    with one.database.connect() as taker, one.database.connect() as beater:
        with taker.transaction():
            orphans = one.ledger.owned(one.owner, taker)
            assert one.ledger.take_over([(orphans[0], "restart")], witnessed=True, connection=taker)
            beat = one.ledger.extend([(hold.saga_id, hold.fence)], beater)
            assert not beat[(hold.saga_id, hold.fence)].is_extended
        assert one.ledger.extend([(hold.saga_id, hold.fence)], beater) == {}


def lease_end(engine, hold):
    return engine.timeline(hold.saga_id).episodes[-1].lease_until


def test_a_lease_is_extended_until_the_deadline_and_grace_of_its_attempt_have_passed_and_then_no_more(settings):
    grace = timedelta(minutes=10)
    with Engine(settings.replace(step_grace=grace)) as engine:
        run = engine.start("t", ["steps.echo"])
        hold = claimed(engine, run.id)

        def is_extended_when_its_deadline_passed(ago):
            with engine.database.checkout() as connection:
                connection.execute(
                    "UPDATE saga_step_results SET deadline_at = clock_timestamp() - %s WHERE saga_id = %s",
                    (ago, run.id),
                )
                before = lease_end(engine, hold)
                beat = engine.ledger.extend([(hold.saga_id, hold.fence)], connection)[(hold.saga_id, hold.fence)]
            assert beat.is_extended == (lease_end(engine, hold) > before)
            return beat.is_extended

        assert is_extended_when_its_deadline_passed(-grace)
        assert is_extended_when_its_deadline_passed(grace / 2)
        assert not is_extended_when_its_deadline_passed(grace)
        hold.yield_()
        hold.close()


def test_short_attempts_between_two_beats_do_not_shorten_the_lease(pair):
    one, two = pair
    run = one.start("t", ["steps.echo"] * 2)
    hold = claimed(one, run.id, timeout=timedelta(seconds=0.2))
    with one.database.checkout() as connection:
        one.ledger.extend([(hold.saga_id, hold.fence)], connection)
    episode = one.timeline(run.id).episodes[0]
    assert (episode.lease_until - episode.started_at).total_seconds() > 29
    advance(hold)
    assert two.sweep().restarted == 0


def test_a_cancel_and_the_last_advance_at_once_end_either_way_but_never_both(pair):
    one, two = pair
    for _ in range(30):
        run = one.start("t", ["steps.echo"])
        hold = claimed(one, run.id)
        act = [lambda hold=hold: advance(hold, last=True), lambda run=run: two.cancel(run.id)]
        position, answer = racing(2, lambda n, act=act: act[n]())
        if answer == "requested":
            assert position.status is RunStatus.COMPENSATING
            hold.compensated(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=True, undo_timeout=TIMEOUT)
            assert two.get(run.id).error_class == "cancelled"
        else:
            assert answer == "not_active"
            assert two.get(run.id).status is RunStatus.COMPLETED
        hold.close()


@pytest.mark.parametrize("first", ["cancel", "advance"])
def test_of_a_cancel_and_the_last_advance_that_wait_for_each_other_the_first_decides(pair, first):
    one, two = pair
    run = one.start("t", ["steps.echo"])
    hold = claimed(one, run.id)
    acts = {"cancel": lambda: two.cancel(run.id), "advance": lambda: advance(hold, last=True).status}
    answers = in_line(one, run.id, sorted(acts.items(), key=lambda act: act[0] != first))
    if first == "cancel":
        assert answers == {"cancel": "requested", "advance": RunStatus.COMPENSATING}
        hold.compensated(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=True, undo_timeout=TIMEOUT)
    else:
        assert answers == {"advance": RunStatus.COMPLETED, "cancel": "not_active"}
    hold.close()


def in_line(engine, saga_id, acts):
    """Let acts come to the locked row of a saga one after the other, and let go of it; what each came to."""
    answers = {}
    threads = []
    url = engine.settings.database_url
    with psycopg.connect(url) as stranger, psycopg.connect(url, autocommit=True) as watcher:
        stranger.execute("SELECT FROM saga_runs WHERE id = %s FOR UPDATE", (saga_id,))
        for count, (name, act) in enumerate(acts, start=1):
            threads.append(
                threading.Thread(target=lambda name=name, act=act: answers.update({name: act()}), daemon=True)
            )
            threads[-1].start()
            wait_until(lambda count=count: watcher.execute(WAITING).fetchone() == (count,), what=f"{name} waits")
        stranger.rollback()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "each of them must come to an end"
    return answers


def test_a_takeover_and_an_advance_at_once_leave_one_of_them(pair):
    one, two = pair
    for _ in range(30):
        run = one.start("t", ["steps.echo", "steps.echo"])
        hold = claimed(one, run.id)
        expire(one, run.id)
        advanced, swept = racing(2, lambda n, hold=hold: advance(hold) if n == 0 else two.sweep())
        hold.close()
        row = two.list_step_results(run.id)[-1]
        if isinstance(advanced, Fenced):
            assert (row.step_idx, row.recoveries) == (0, 1)
        else:
            assert row.step_idx == 1
            assert row.recoveries == swept.restarted
        expire(one, run.id)
        two.sweep()
        assert two.run(run.id).status is RunStatus.COMPLETED, timeline(two, run.id)


def test_two_starts_of_one_key_at_once_store_one_saga(pair):
    for n in range(10):
        runs = racing(8, lambda i, n=n: pair[i % 2].start("t", ["steps.echo"], key=f"k{n}"))
        assert len({run.id for run in runs}) == 1, runs
    assert len(pair[0].list(limit=100)) == 10


def test_a_cancel_and_a_claim_at_once_never_lose_the_cancel(pair):
    one, two = pair
    for _ in range(30):
        run = one.start("t", ["steps.echo"])
        hold, answer = racing(2, lambda n, run=run: claimed(one, run.id) if n == 0 else two.cancel(run.id))
        if hold is None:
            assert answer == "cancelled"
        else:
            assert answer == "requested"
            assert advance(hold, last=True).status is RunStatus.COMPENSATING
            hold.compensated(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=True, undo_timeout=TIMEOUT)
            hold.close()
        assert two.get(run.id).status is RunStatus.ROLLED_BACK
