"""Which policy decides over an orphan: callback, registered definition, the database's, the run's own, else fail."""

import logging

import pytest

from sagaworker import Definition
from sagaworker.domain.status import RunStatus
from tests.recovery.abandoned import execute, orphan

ECHO = ["steps.echo"]


def defined(engine, *definitions):
    """As if other processes had loaded these: they are in the database, and this one knows none."""
    for definition in definitions:
        engine.definitions._store.put(definition, None)


def registered(policy, actor="billing"):
    return [Definition("t", ECHO, actor=actor, recovery_policy=policy)]


def test_restart_policy_restarts_one_with_the_same_id(engine, rung):
    run = orphan(engine, actor_id="billing")
    rung.clear()
    assert engine.sweep(actor_registry=registered("restart")).restarted == 1
    assert rung == [run.id]
    assert engine.run(run.id).status is RunStatus.COMPLETED


def test_no_policy_anywhere_fails_one_as_orphaned(engine):
    run = orphan(engine, actor_id="billing")
    assert engine.sweep().failed == 1
    assert engine.get(run.id).error_class == "orphaned"


def test_unknown_actor_fails(engine):
    orphan(engine, actor_id="nobody")
    defined(engine, *registered("restart"))
    assert engine.sweep(actor_registry=registered("restart")).failed == 1


def test_database_definition_that_says_restart_restarts(engine):
    run = orphan(engine, actor_id="billing")
    defined(engine, *registered("restart"))
    assert engine.sweep().restarted == 1
    assert engine.run(run.id).status is RunStatus.COMPLETED


def test_database_definition_without_a_policy_fails(engine):
    orphan(engine, actor_id="billing")
    defined(engine, *registered(None))
    assert engine.sweep().failed == 1


def test_registered_definition_beats_the_database(engine):
    orphan(engine, actor_id="billing")
    defined(engine, *registered("fail"))
    assert engine.sweep(actor_registry=registered("hold")).held == 1


def test_registered_definition_without_a_policy_falls_through_to_the_database(engine):
    orphan(engine, actor_id="billing")
    defined(engine, *registered("hold"))
    assert engine.sweep(actor_registry=registered(None)).held == 1


def test_sweep_without_options_still_consults_the_database(engine):
    orphan(engine, actor_id="billing")
    defined(engine, *registered("compensate"))
    assert engine.sweep().compensated == 1


def test_callback_beats_all(engine):
    run = orphan(engine, actor_id="billing", recovery_policy="restart")
    defined(engine, *registered("restart"))
    seen = []

    def answer(found):
        seen.append((found.id, found.kind, found.actor_id))
        return "fail"

    assert engine.sweep(resolve_policy=answer, actor_registry=registered("restart")).failed == 1
    assert seen == [(run.id, "t", "billing")]


def test_own_policy_of_the_run_comes_after_both_definitions(engine):
    orphan(engine, actor_id="billing", recovery_policy="hold")
    assert engine.sweep(actor_registry=registered("restart")).restarted == 1
    engine.run(engine.list()[0].id)
    first = orphan(engine, actor_id="billing", recovery_policy="hold")
    defined(engine, *registered("compensate"))
    assert engine.sweep().compensated == 1
    other = orphan(engine, actor_id="shipping", recovery_policy="hold")
    assert engine.sweep().held == 1
    assert engine.get(first.id).waiting_for != "hold"
    assert engine.get(other.id).waiting_for == "hold"


def test_disabled_definition_has_no_say(engine):
    orphan(engine, actor_id="billing")
    defined(engine, *registered("restart"))
    execute(engine, "UPDATE saga_definitions SET disabled_at = now()")
    assert engine.sweep().failed == 1


@pytest.mark.parametrize("answer", ["reboot", "", 7, ["restart"], {}])
def test_illegal_answer_of_the_callback_falls_through_and_is_logged(engine, caplog, answer):
    orphan(engine, actor_id="billing")
    with caplog.at_level(logging.ERROR, "sagaworker"):
        assert engine.sweep(resolve_policy=lambda _: answer, actor_registry=registered("restart")).restarted == 1
    assert "answer of resolve_policy" in caplog.text


def test_callback_that_raises_for_one_run_falls_through_for_it_alone_and_is_logged(engine, caplog):
    poison, other = (orphan(engine, actor_id="billing") for _ in range(2))

    def answer(found):
        if found.id == poison.id:
            raise LookupError("no such tenant")
        return "hold"

    with caplog.at_level(logging.ERROR, "sagaworker"):
        result = engine.sweep(resolve_policy=answer, actor_registry=registered("restart"))
    assert (result.restarted, result.held) == (1, 1)
    assert engine.get(other.id).waiting_for == "hold"
    assert poison.id in caplog.text
    assert "no such tenant" in caplog.text


def test_callback_that_answers_none_leaves_it_to_the_definitions(engine):
    orphan(engine, actor_id="billing")
    assert engine.sweep(resolve_policy=lambda _: None, actor_registry=registered("hold")).held == 1


def test_definition_of_any_actor_serves_actors_without_one_of_their_own(engine):
    orphan(engine, actor_id="billing")
    assert engine.sweep(actor_registry=[*registered("hold", actor=None), *registered("fail", actor="x")]).held == 1


def test_witness_asks_the_definitions_too(engine):
    from tests.holding import claimed

    run = engine.start("t", ECHO, actor_id="billing")
    defined(engine, *registered("hold"))
    claimed(engine, run.id).close()
    assert engine.take_over_dead(engine.owner) == 1
    assert engine.get(run.id).waiting_for == "hold"
