"""Definitions: declared beside the steps, loaded when asked, stored for everybody, pinned by the runs."""

import psycopg
import pytest

from sagaworker import Definition, InvalidInput
from sagaworker.domain.status import RunStatus
from sagaworker.ledger.definitions import DefinitionStore
from tests.catalog import declared
from tests.recovery.abandoned import another, execute, orphan

PACKAGES = ("steps", "tests.catalog.declared")


@pytest.fixture
def declaring(engine):
    with another(engine, step_packages=PACKAGES) as other:
        yield other


def test_what_modules_declare_is_loaded_and_stored_and_what_is_broken_is_left_out_by_itself(declaring, engine):
    loaded = declaring.load_definitions()
    assert {(d.kind, d.actor) for d in loaded.definitions} == {
        ("greeting", None),
        ("billing", "alice"),
        ("billing", "bob"),
        ("sound", None),
    }
    told = "\n".join(loaded.problems)
    assert "RuntimeError: this module must not be imported" in told
    assert "steps.gone" in told
    assert "between 1 and 1000 steps" in told
    assert "recovery_policy of definition 'policy'" in told
    assert "kind 'greeting' must be defined once" in told
    assert "must hold Definition only, got a str" in told
    assert "scalar: DEFINITIONS must be a list of Definition" in told
    assert [(k.definition.kind, k.definition.actor, k.is_registered) for k in engine.definitions.known()] == [
        ("billing", "alice", False),
        ("billing", "bob", False),
        ("greeting", None, False),
        ("sound", None, False),
    ]


def test_a_definition_is_loaded_when_a_start_asks_for_it_and_not_before(declaring):
    declaring.start("given", ["steps.echo"])
    assert declaring.definitions.known() == []
    assert declaring.start("greeting").step_modules == ("steps.echo",)
    with pytest.raises(InvalidInput, match="kind 'nobodys' must have a definition"):
        declaring.start("nobodys")


def test_loading_twice_stores_nothing_twice(declaring, engine):
    assert declaring.load_definitions() == declaring.load_definitions()
    assert execute(engine, "SELECT count(*) FROM saga_definitions") == [(4,)]


def test_a_start_without_steps_takes_the_list_of_its_kind_and_is_pinned_to_its_version(declaring, engine):
    declaring.load_definitions()
    run = engine.start("greeting", None)
    found = engine.get(run.id)
    assert found.step_modules == ("steps.echo",)
    assert found.definition_version == Definition("x", ["steps.echo"]).version
    assert engine.run(run.id).status is RunStatus.COMPLETED
    assert engine.get(engine.start("greeting", ["steps.echo"]).id).definition_version is None


def test_each_actor_has_its_own_definition_and_the_options_of_a_start_win(declaring, engine):
    declaring.load_definitions()
    alice, bob = (engine.get(engine.start("billing", actor_id=actor).id) for actor in ("alice", "bob"))
    assert (len(alice.step_modules), alice.max_recoveries, alice.recovery_policy) == (2, 7, None)
    assert (bob.step_modules[0]["id"], bob.queue) == ("one", "slow")
    assert engine.get(engine.start("billing", actor_id="bob", queue="fast").id).queue == "fast"


def test_a_start_that_names_no_definition_says_what_there_is(declaring, engine):
    declaring.load_definitions()
    with pytest.raises(InvalidInput, match="actors: alice, bob"):
        engine.start("billing")
    with pytest.raises(InvalidInput, match="for actor 'carol'"):
        engine.start("billing", actor_id="carol")
    with pytest.raises(InvalidInput, match="did you mean 'greeting'"):
        engine.start("greting")
    assert engine.list() == []


def test_a_running_saga_finishes_on_the_list_it_was_started_with(declaring, engine):
    declaring.load_definitions()
    run = engine.start("greeting")
    engine.definitions._store.put(Definition("greeting", ["steps.echo", "steps.echo"]), None)
    assert len(engine.start("greeting").step_modules) == 2
    assert engine.run(run.id).status is RunStatus.COMPLETED
    assert len(engine.list_step_results(run.id)) == 1


def test_an_old_version_that_is_loaded_again_does_not_become_the_current_one(declaring, engine):
    declaring.load_definitions()
    engine.definitions._store.put(Definition("greeting", ["steps.echo", "steps.echo"]), None)
    with another(engine, step_packages=PACKAGES) as old:
        old.load_definitions()
    assert len(engine.start("greeting").step_modules) == 2


def test_a_changed_policy_is_stored_under_the_same_version(declaring, engine):
    declaring.load_definitions()
    orphan(engine, kind="billing", actor_id="alice", steps=None)
    changed = Definition("billing", ["steps.echo", "steps.echo"], actor="alice", recovery_policy="hold")
    engine.definitions._store.put(changed, None)
    assert execute(engine, "SELECT count(*) FROM saga_definitions") == [(4,)]
    assert engine.sweep().held == 1


def test_start_many_takes_definitions_too(declaring, engine):
    declaring.load_definitions()
    runs = engine.start_many([{"kind": "greeting"}, {"kind": "billing", "actor_id": "bob"}])
    assert [len(run.step_modules) for run in runs] == [1, 1]


class Unspeakable:
    def __eq__(self, other):
        raise RuntimeError("compared")

    def __hash__(self):
        return 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_recoveries": 10**12}, "max_recoveries of definition 'bad' must be a whole number from 0 to 1000000"),
        ({"priority": 10}, "priority of definition 'bad' must be a whole number from 0 to 9"),
        ({"priority": "1"}, "priority of definition 'bad' must be a whole number"),
        ({"queue": "a\x00b"}, "queue of definition 'bad' must be 1 to 200 printable characters"),
        ({"queue": "\ud800"}, "queue of definition 'bad' must be 1 to 200 printable characters"),
        ({"queue": object()}, "queue of definition 'bad' must be 1 to 200 printable characters"),
        ({"queue": "my sagas"}, "queue of definition 'bad' must be a queue's name without blanks"),
        ({"actor": "a" * 201}, "actor of definition 'bad' must be 1 to 200 printable characters"),
        ({"on_compensation_failure": "shrug"}, "on_compensation_failure of definition 'bad' must be one of continue"),
        ({"recovery_policy": Unspeakable()}, "recovery_policy of definition 'bad' must be one of restart"),
        ({"steps": ["steps.echo"] * 3}, "step list must have between 1 and 2 steps, got 3"),
        ({"steps": [{"step": "steps.echo", "params": {"x": "y" * 5000}}]}, "must be at most 4000 bytes of JSON"),
    ],
)
def test_a_definition_that_no_start_would_take_is_left_out_and_all_others_are_stored(
    engine, monkeypatch, caplog, wrong, said
):
    bad = Definition(**{"kind": "bad", "steps": ["steps.echo"], **wrong})
    monkeypatch.setattr(
        declared, "DEFINITIONS", [bad, Definition("last", ["steps.echo"], priority=9, max_recoveries=1_000_000)]
    )
    with another(engine, step_packages=PACKAGES, max_steps=2, max_context_bytes=4000) as other:
        loaded = other.load_definitions()
        assert said in "\n".join(loaded.problems)
        assert "last" in {known.definition.kind for known in engine.definitions.known()}
        assert other.get(other.start("last").id).priority == 9
    assert "bad" not in {one.definition.kind for one in engine.definitions.known()}


def test_a_list_as_long_as_the_setting_allows_can_be_declared(engine, monkeypatch):
    monkeypatch.setattr(declared, "DEFINITIONS", [Definition("long", ["steps.echo"] * 1200)])
    with another(engine, step_packages=PACKAGES, max_steps=1200) as other:
        other.load_definitions()
        assert len(other.start("long").step_modules) == 1200


def test_a_definition_that_the_database_refuses_is_left_out_by_itself(declaring, engine, monkeypatch):
    put = DefinitionStore.put

    def refusing(store, definition, source_env):
        if definition.kind == "greeting":
            raise psycopg.errors.CheckViolation("saga_definitions has a rule that only the database knows")
        put(store, definition, source_env)

    monkeypatch.setattr(DefinitionStore, "put", refusing)
    loaded = declaring.load_definitions()
    assert "definition 'greeting' must be one that can be stored" in "\n".join(loaded.problems)
    assert {d.kind for d in loaded.definitions} == {"billing", "sound"}
    assert {known.definition.kind for known in declaring.definitions.known()} == {"billing", "sound"}
