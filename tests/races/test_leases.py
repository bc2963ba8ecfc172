"""Holder and sweeper agree on whose a saga is: the holder never believes in its lease for longer than the database does."""

import psycopg
import pytest

from sagaworker import Fenced
from sagaworker.domain import walk
from sagaworker.domain.status import ErrorClass, RunStatus, StepStatus
from sagaworker.engine import Engine
from sagaworker.episodes.heartbeat import Heartbeat
from sagaworker.ledger.lease import now
from tests.holding import TIMEOUT, advance, claimed, expire
from tests.relay import Relay
from tests.showing import timeline
from tests.waiting import wait_until

ERROR = {"kind": "X", "message": "x"}


@pytest.fixture
def pair(settings):
    with Engine(settings) as one, Engine(settings) as two:
        yield one, two
        assert one.audit() == []


@pytest.fixture
def relay(database_url):
    relay = Relay(database_url)
    yield relay
    relay.close()


def beat(engine, hold):
    """What one heartbeat of the holder's process learns of this hold."""
    with engine.database.checkout() as connection:
        return engine.ledger.extend([(hold.saga_id, hold.fence)], connection)[(hold.saga_id, hold.fence)]


def lease_end(engine, hold):
    return engine.timeline(hold.saga_id).episodes[-1].lease_until


@pytest.mark.parametrize("policy", ["restart", "compensate", "fail", "hold"])
def test_a_beat_between_a_sweeps_look_and_its_takeover_keeps_the_saga(pair, policy):
    one, two = pair
    run = one.start("t", ["steps.echo"])
    hold = claimed(one, run.id)
    expire(one, run.id)
    beats = []

    def asked(_run):  # by a sweep that has seen that the lease is over, and has locked nothing yet
        beats.append(beat(one, hold))
        return policy

    swept = two.sweep(resolve_policy=asked)
    assert [one.is_extended for one in beats] == [True]
    assert swept.skipped == 1, swept
    assert advance(hold, last=True).status is RunStatus.COMPLETED, timeline(one, run.id)
    assert one.get(run.id).recoveries == 0


def test_a_beat_whose_answer_takes_longer_than_the_lease_gives_the_holder_no_time(settings, relay):
    short = settings.replace(lease=1.0)
    with Engine(short.replace(database_url=relay.url)) as far, Engine(short) as near:
        hold = claimed(far, far.start("t", ["steps.echo"]).id)
        heartbeat = Heartbeat(far.ledger)
        try:
            heartbeat.add(hold)
            first = lease_end(near, hold)
            wait_until(lambda: lease_end(near, hold) > first, what="the line of the heartbeat is there")
            relay.answering.clear()
            before = lease_end(near, hold)
            wait_until(lambda: lease_end(near, hold) > before, what="a beat is carried out, and not answered")
            carried_out_by, sent_at = now(), hold.lease.sent_at
            wait_until(lambda: near.sweep().restarted, what="another takes the saga over")
            assert hold.lease.is_lost
            relay.answering.set()
            wait_until(lambda: hold.lease.sent_at != sent_at, what="the answer is there")
            assert hold.lease.sent_at < carried_out_by
            assert hold.lease.is_lost
        finally:
            relay.answering.set()
            heartbeat.close()
        with pytest.raises(Fenced):
            advance(hold, last=True)
        assert near.run(hold.saga_id).status is RunStatus.COMPLETED
        assert near.audit() == []


def test_an_undo_that_waits_to_be_tried_again_is_not_taken_from_the_living(pair):
    one, two = pair
    run = one.start("t", ["steps.echo"])
    hold = claimed(one, run.id)
    in_doubt = walk.Fail(reason="x", error_class=ErrorClass.STEP_IN_DOUBT, undo_self=True, doubted=True)
    hold.fail(in_doubt, undo_timeout=TIMEOUT)
    wait = 3 * TIMEOUT
    hold.retry(walk.Retry(delay=wait.total_seconds(), error=ERROR, doubted=True), park=False, undo_timeout=TIMEOUT)
    with psycopg.connect(one.settings.database_url, autocommit=True) as connection:  # the wait is over
        connection.execute(
            "UPDATE saga_step_results SET deadline_at = deadline_at - %s WHERE saga_id = %s", (wait, run.id)
        )
    expire(one, run.id)
    assert beat(one, hold).is_extended, timeline(one, run.id)
    assert two.sweep().restarted == 0, timeline(one, run.id)
    row = one.list_step_results(run.id)[0]
    assert row.compensation_recoveries == 0
    hold.compensated(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=True, undo_timeout=TIMEOUT)
    assert two.get(run.id).status is RunStatus.ROLLED_BACK
