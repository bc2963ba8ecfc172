"""A saga that no worker can run, for the lack of a step's module: it says so, and goes on when the module is there."""

from __future__ import annotations

import psycopg
import pytest

from sagaworker.engine import Engine
from sagaworker.episodes import HostPlace
from sagaworker.errors import MoveRefused
from sagaworker.ledger.operators import Order
from tests.holding import advance, claimed

STEP = "tests.episodes.steps:Works"


@pytest.fixture
def rung():
    return []


@pytest.fixture
def bare(settings, rung):
    """A process whose step packages lack the module."""
    with Engine(
        settings.replace(step_packages=("steps",)), ring=lambda bells: rung.extend(bell.saga_id for bell in bells)
    ) as engine:
        yield engine


@pytest.fixture
def stuck(engine, bare):
    """The id of a saga that a worker could not run."""
    run = engine.start("pay", [STEP], queue="slow")
    assert bare.run_episode(run.id, place=HostPlace()).outcome == "unrunnable"
    return run.id


def notes(engine, saga_id):
    return [entry for entry in engine.timeline(saga_id).journal if entry.type == "saga.recovery_skipped"]


def test_the_journal_says_which_step_why_and_who_tried(engine, stuck):
    (entry,) = notes(engine, stuck)
    assert entry.data["step"] == STEP
    assert "must be in an allowed package (steps)" in entry.data["reason"]
    assert entry.data["tries"] == 1
    assert entry.data["host"]
    assert entry.data["pid"]


def test_more_tries_keep_that_row_current_and_make_no_other(engine, stuck):
    (first,) = notes(engine, stuck)
    with Engine(engine.settings.replace(step_packages=("sagaworker",))) as other:
        other.run_episode(stuck, place=HostPlace())
    (again,) = notes(engine, stuck)
    assert (again.seq, again.created_at) == (first.seq, first.created_at)
    assert "(sagaworker)" in again.data["reason"]
    assert again.data["tries"] == 2
    assert again.data["last_at"] > first.data["last_at"]


def test_explain_says_which_module_why_since_when_and_what_a_worker_needs(engine, bare, stuck):
    bare.run_episode(stuck, place=HostPlace())
    told = engine.explain(stuck)
    assert (
        "No worker could run it: step 'tests.episodes.steps:Works' must be in an allowed package (steps)" in told.text
    )
    assert "That was last tried at 20" in told.text
    assert ", 2 times since 20" in told.text
    assert "A worker of queue slow can, where module tests.episodes.steps can be imported" in told.text
    assert "SAGAWORKER_STEP_PACKAGES" in told.text
    assert "waits for a free worker" not in told.text
    assert told.needs_person
    assert told.commands == (f"sagaworker retry {stuck}",)


def test_retry_rings_it_now_and_as_often_as_one_that_was_just_started(bare, stuck, rung):
    with psycopg.connect(bare.settings.database_url, autocommit=True) as connection:
        connection.execute("UPDATE saga_runs SET rings = 9, wake_at = now() + interval '5 minutes'")
    # From a client that lacks the module too: what it lacks is no reason to refuse.
    run = bare.retry(stuck, reason="installed", who="ann")
    assert rung == [stuck]
    assert run.status == "pending"
    with psycopg.connect(bare.settings.database_url) as connection:
        (found,) = connection.execute("SELECT rings, wake_at < now() + interval '1 minute' FROM saga_runs")
    assert found == (0, True)
    entry = bare.timeline(stuck).journal[-1]
    assert (entry.type, entry.data["what"], entry.data["who"]) == ("operator.retried", "ring", "ann")
    assert not bare.explain(stuck).needs_person


def test_a_worker_that_has_the_module_goes_on_with_it(engine, bare, stuck):
    bare.retry(stuck, reason="installed", who="ann")
    assert engine.run(stuck).status == "completed"
    assert not engine.explain(stuck).needs_person


def test_one_that_is_retried_in_vain_says_so_again(engine, bare, stuck):
    bare.retry(stuck, reason="installed", who="ann")
    bare.run_episode(stuck, place=HostPlace())
    assert [entry.data["tries"] for entry in notes(engine, stuck)] == [1, 1]
    assert engine.explain(stuck).needs_person


def test_a_saga_that_nobody_failed_to_run_is_not_retried(engine):
    run = engine.start("pay", ["steps.echo"])
    with pytest.raises(MoveRefused, match="it is pending, and must be failed"):
        engine.retry(run.id, reason="x", who="ann")


def test_it_is_not_rung_once_somebody_holds_it_or_it_is_on_hold_or_over(engine, stuck):
    order = Order(saga_id=stuck, who="ann", reason="x")
    engine.hold(stuck, reason="x", who="ann")
    assert engine.operating.retry_passed_over(order) is None
    engine.release(stuck, reason="x", who="ann")
    hold = claimed(engine, stuck)
    assert engine.operating.retry_passed_over(order) is None
    hold.yield_()
    hold.close()
    assert engine.run(stuck).status == "completed"
    assert engine.operating.retry_passed_over(order) is None


def test_one_that_is_being_undone_says_so_too_and_is_retried(engine, bare, rung):
    run = engine.start("pay", [STEP, STEP])
    hold = claimed(engine, run.id)
    advance(hold)
    hold.yield_()
    hold.close()
    assert engine.cancel(run.id) == "requested"
    bare.run_episode(run.id, place=HostPlace())
    assert "is being undone because it was cancelled" in engine.explain(run.id).text
    assert "No worker could run it" in engine.explain(run.id).text
    assert bare.retry(run.id, reason="installed", who="ann").status == "compensating"
    assert rung == [run.id]
    assert engine.run(run.id).status == "rolled_back"
