"""Every name that we print is accepted wherever an id is, when one run has it."""

import uuid

import psycopg
import pytest

from sagaworker import Engine, InvalidInput, SagaNotFound

STEPS = ["tests.episodes.steps:Works"]


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
    assert engine.wait(hello.label, timeout=60).id == hello.id
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


@pytest.mark.parametrize("name", ["order[none]", "nobody[42]", "dead", "deadbeef-", "order[\x00]", "[x]"])
def test_a_name_of_no_run_is_refused(engine, name):
    with pytest.raises(InvalidInput):
        engine.get(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "abc",
        "order[",
        "order]",
        "a" * 37,
        "0x12",
        "a" * 33,
        "a-a-a-a",
        "aaaa-",
        "aaaaaaaaa-",
        "aaaaaaaa-aaa-",
        None,
        7,
        "\x00",
        "%",
        "'; --",
    ],
)
def test_what_is_no_name_is_refused_with_what_a_name_is(engine, name):
    with pytest.raises(InvalidInput, match="saga id must be a uuid"):
        engine.get(name)


def test_a_whole_id_of_no_run_is_not_found(engine):
    with pytest.raises(SagaNotFound):
        engine.get(str(uuid.uuid4()))


@pytest.mark.parametrize("tail", ["f", "abc", "-f"])
def test_a_whole_id_with_something_behind_it_is_no_name(engine, tail):
    run = engine.start("hello", STEPS)
    for name in (run.id + tail, run.id.replace("-", "") + tail):
        with pytest.raises(InvalidInput, match="saga id must be a uuid"):
            engine.cancel(name)
    assert engine.get(run.id).status == "pending"


@pytest.mark.parametrize("length", [*range(4, 36)])
def test_every_beginning_of_an_id_is_a_name_with_its_dashes_and_without(engine, length):
    run = engine.start("hello", STEPS)
    assert engine.get(run.id[:length]).id == run.id
    assert engine.get(run.id.replace("-", "")[: min(length, 31)]).id == run.id


MOVES = {
    "cancel": lambda engine, name: engine.cancel(name),
    "run": lambda engine, name: engine.run(name),
    "ring": lambda engine, name: engine.ring(name),
    "hold": lambda engine, name: engine.hold(name, reason="r", who="w"),
    "release": lambda engine, name: engine.release(name, reason="r", who="w"),
    "retry": lambda engine, name: engine.retry(name, reason="r", who="w"),
    "skip": lambda engine, name: engine.skip(name, reason="r", who="w"),
    "resolve": lambda engine, name: engine.resolve(name, happened=False, reason="r", who="w"),
    "claim_for_recovery": lambda engine, name: engine.claim_for_recovery(name),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("key", ["42", None])
def test_a_short_name_moves_no_saga_of_another_environment(engine, move, key):
    staging = engine.start("order", STEPS, key=key, source_env="staging")
    before = engine.timeline(staging.id)
    with Engine(engine.settings.replace(source_env="production")) as production:
        for name in (staging.label, staging.id[:12]):
            assert production.get(name).id == staging.id  # who only looks may
            with pytest.raises(InvalidInput, match=f"give its whole id: {staging.id}"):
                MOVES[move](production, name)
    assert engine.timeline(staging.id) == before


def test_a_whole_id_moves_a_saga_of_whatever_environment(engine):
    staging = engine.start("order", STEPS, source_env="staging")
    assert engine.cancel(staging.id) == "cancelled"
