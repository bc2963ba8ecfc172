"""Several environments on one ledger: a key, a definition and a policy are those of one environment, unset being one."""

import psycopg
import pytest

from sagaworker import Engine
from sagaworker.domain.definition import Definition
from sagaworker.errors import InvalidInput, KeyConflict
from sagaworker.settings import Settings
from tests.holding import claimed, expire

ENVS = (None, "staging", "production")
STEPS = ["tests.episodes.steps:Works"]


@pytest.fixture
def engines(database_url):
    found = [
        Engine(Settings.from_env({}, database_url=database_url, step_packages=("tests.episodes",), source_env=env))
        for env in ENVS
    ]
    yield found
    for engine in found:
        engine.close()


@pytest.mark.parametrize("how", ["start", "start_many", "joined"])
def test_the_same_key_names_another_saga_in_each_environment(engines, how):
    def start(engine, inputs):
        match how:
            case "start":
                return engine.start("order", STEPS, key="42", inputs=inputs)
            case "start_many":
                return engine.start_many([{"kind": "order", "steps": STEPS, "key": "42", "inputs": inputs}])[0]
            case _:
                with psycopg.connect(engine.settings.database_url) as connection:
                    return engine.start("order", STEPS, key="42", inputs=inputs, connection=connection)

    runs = [start(engine, {"n": number}) for number, engine in enumerate(engines)]
    assert len({run.id for run in runs}) == 3
    assert [run.source_env for run in runs] == list(ENVS)
    for number, engine in enumerate(engines):
        assert start(engine, {"n": number}).id == runs[number].id
        with pytest.raises(KeyConflict):
            start(engine, {"n": "other"})
    assert engines[0].audit() == []


def test_one_call_may_start_the_same_key_in_two_environments(engines):
    each = [{"kind": "order", "steps": STEPS, "key": "42", "source_env": env} for env in ENVS]
    assert len({run.id for run in engines[0].start_many(each)}) == 3
    assert len({run.id for run in engines[0].start_many(each)}) == 3


def test_a_definition_of_another_environment_is_not_used(engines):
    own = [
        (engine, number, recovery)
        for number, (engine, recovery) in enumerate(
            zip(engines, ("restart", "compensate", "hold"), strict=True), start=1
        )
    ]
    for engine, number, recovery in own:
        engine.definitions._store.put(
            Definition(kind="order", steps=STEPS * number, recovery_policy=recovery), engine.settings.source_env
        )
    for engine, number, recovery in own:
        assert [one.definition.recovery_policy for one in engine.definitions.known(["order"])] == [recovery]
        run = engine.start("order")
        assert (len(run.step_modules), run.source_env) == (number, engine.settings.source_env)


def test_a_start_or_a_sweep_for_another_environment_uses_that_ones_definitions(engines):
    """The order of one environment may have other steps, and its orphans another policy."""
    unset, _staging, production = engines
    for engine, steps, policy in ((unset, STEPS, "fail"), (production, STEPS * 2, "compensate")):
        definition = Definition(kind="order", steps=steps, recovery_policy=policy)
        engine.definitions._registered = {definition.pair: definition}
        engine.definitions._store.put(definition, engine.settings.source_env)
    run = unset.start("order", source_env="production")
    assert len(run.step_modules) == 2
    with pytest.raises(InvalidInput, match="must have a definition"):
        unset.start("order", source_env="staging")
    hold = claimed(unset, run.id)
    hold.close()
    expire(unset, run.id)
    assert unset.sweep(source_env="production").compensated == 1


def test_the_audit_finds_two_runs_of_one_key_in_one_environment(engines, database_url):
    for env in ("staging", "production"):
        engines[0].start("order", STEPS, key="42", source_env=env)
    assert engines[0].audit() == []
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP INDEX saga_runs_kind_key_is_unique")
        connection.execute("UPDATE saga_runs SET source_env = 'staging'")
    assert {finding.invariant for finding in engines[0].audit()} == {20}


def test_kind_key_and_environment_that_no_index_row_holds_are_refused_before_anything_is_stored(engines):
    with pytest.raises(InvalidInput, match="kind, key and source_env must be at most 2500 bytes"):
        engines[0].start("k" * 200, STEPS, key="\N{GRINNING FACE}" * 500, source_env="\N{GRINNING FACE}" * 150)
    widest = engines[0].start("k" * 200, STEPS, key="\N{GRINNING FACE}" * 500, source_env="e" * 200)
    assert widest.key is not None
