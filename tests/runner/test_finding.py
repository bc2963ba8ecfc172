"""Every name that we print is accepted wherever an id is, when one run has it."""

import uuid

import psycopg
import pytest

from sagaworker import Engine, InvalidInput, SagaNotFound

STEPS = ["tests.runner.steps:Works"]


@pytest.fixture
def runs(engine):
    return (
        engine.start("hello", STEPS),
        engine.start("order", STEPS, key="42/7 [x]"),
        engine.start("order", STEPS, key="é"),
    )


def names_of(run):
    last = run.id[-6:]
    yield from (run.id, run.id.upper(), run.id.replace("-", ""), uuid.UUID(run.id), run.label, f"{run.label} 1/1 Works")
    if run.key is None:
        yield f"{run.kind}[{last}]"


def test_each_name_that_is_printed_finds_its_run(engine, runs):
    for run in runs:
        for name in names_of(run):
            assert engine.get(name).id == run.id, name
            assert engine.timeline(name).run.id == run.id
            assert engine.explain(name) is not None
            assert len(engine.list_step_results(name)) == 0
    hello, order, other = runs
    engine.hold(order.label, reason="r", who="w")
    assert engine.get(order.id).waiting_for == "hold"
    engine.release(order.label, reason="r", who="w")
    assert engine.cancel(order.label) == "cancelled"
    assert engine.run(hello.label).status == "completed"
    assert engine.wait(hello.label, timeout=5).id == hello.id
    engine.ring(other.label)


def test_the_beginning_of_an_id_is_enough_when_it_is_unique(engine, database_url):
    run = engine.start("hello", STEPS)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for digits in ("aaaa1111", "aaaa2222"):
            identity = f"{digits}-0000-7000-8000-000000000001"
            connection.execute("UPDATE saga_runs SET id = %s WHERE id = %s", [identity, run.id])
            connection.execute("UPDATE saga_events SET saga_id = %s WHERE saga_id = %s", [identity, run.id])
            run = engine.start("hello", STEPS)
    assert engine.get("aaaa1").id.startswith("aaaa1111")
    assert engine.get("AAAA2222-0").id.startswith("aaaa2222")
    with pytest.raises(InvalidInput, match=r"must name one run, got several\nsay which: aaaa2222.*, aaaa1111"):
        engine.get("aaaa")


def test_a_key_of_several_environments_is_the_own_ones(engine, database_url):
    staging = engine.start("order", STEPS, key="42", source_env="staging")
    own = engine.start("order", STEPS, key="42")
    assert engine.get("order[42]").id == own.id
    with Engine(engine.settings.replace(source_env="staging")) as other:
        assert other.get("order[42]").id == staging.id
    with (
        Engine(engine.settings.replace(source_env="production")) as third,
        pytest.raises(InvalidInput, match="must name one run, got several"),
    ):
        third.get("order[42]")


@pytest.mark.parametrize("name", ["order[none]", "nobody[42]", "dead", "beef-", "order[\x00]", "[x]"])
def test_a_name_of_no_run_is_refused(engine, name):
    with pytest.raises(InvalidInput):
        engine.get(name)


@pytest.mark.parametrize("name", ["", "x", "abc", "order[", "order]", "a" * 37, "0x12", None, 7, "\x00", "%", "'; --"])
def test_what_is_no_name_is_refused_with_what_a_name_is(engine, name):
    with pytest.raises(InvalidInput, match="saga id must be a uuid"):
        engine.get(name)


def test_a_whole_id_of_no_run_is_not_found(engine):
    with pytest.raises(SagaNotFound):
        engine.get(str(uuid.uuid4()))
