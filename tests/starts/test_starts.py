"""Starting: what is refused stores nothing, what is accepted exists once."""

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from sagaworker import InvalidInput, KeyConflict, SagaNotFound, UnknownStep, WaitTimeout
from sagaworker.domain.status import RunStatus
from sagaworker.engine import Engine
from sagaworker.ledger.url import sqlalchemy_url

BAD_STEPS = [
    (["steps.eco"], UnknownStep, "did you mean steps.echo"),
    (["os.system"], UnknownStep, "must be in an allowed package"),
    (["steps.__init__"], UnknownStep, "allowed package"),
    (["steps.tenants"], UnknownStep, "function execute"),
    (["steps.echo:Missing"], UnknownStep, "no 'Missing'"),
    (["../../etc/passwd"], InvalidInput, "dotted module name"),
    ([], InvalidInput, "between 1 and 1000"),
    (["steps.echo"] * 1001, InvalidInput, "got 1001"),
]


@pytest.mark.parametrize(("steps", "error", "said"), BAD_STEPS)
def test_a_bad_step_list_stores_nothing(engine, steps, error, said):
    with pytest.raises(error, match=said):
        engine.start("test", steps)
    assert engine.list() == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inputs": [1]}, "inputs must be an object"),
        ({"inputs": {"x": float("nan")}}, "inputs.x must be a finite number"),
        ({"inputs": {"x": "\x00"}}, "NUL"),
        ({"inputs": {"x": "\ud800"}}, "surrogate"),
        ({"inputs": {"x": "y" * 2_000_000}}, "inputs must be at most"),
        ({"key": ""}, "key must be"),
        ({"key": "a\nb"}, "key must be"),
        ({"recovery_policy": "pray"}, "recovery_policy must be one of restart"),
        ({"max_recoveries": -1}, "max_recoveries"),
        ({"priority": 11}, "priority"),
        ({"queu": "x"}, "did you mean queue"),
        ({"deadline": "tomorrow"}, "deadline"),
        ({"mode": "dry"}, "mode must be one of live"),
        ({"on_compensation_failure": "x"}, "on_compensation_failure"),
    ],
)
def test_a_bad_argument_stores_nothing(engine, given, said):
    with pytest.raises(InvalidInput, match=said):
        engine.start("test", ["steps.echo"], **given)
    assert engine.list() == []


@pytest.mark.parametrize("kind", ["", "x" * 201, "a\x00b", None, 7])
def test_a_bad_kind_stores_nothing(engine, kind):
    with pytest.raises(InvalidInput, match="kind must be"):
        engine.start(kind, ["steps.echo"])
    assert engine.list() == []


def test_the_same_key_with_equal_inputs_returns_the_existing_run_whatever_its_status(engine):
    first = engine.start("order", ["steps.echo"], inputs={"n": 1.0}, key="42")
    assert engine.start("order", ["steps.echo"], inputs={"n": 1.0}, key="42").id == first.id
    engine.run(first.id)
    again = engine.start("order", ["steps.echo", "steps.echo"], inputs={"n": 1.0}, key="42")
    assert (again.id, again.status) == (first.id, RunStatus.COMPLETED)
    assert engine.start("refund", ["steps.echo"], key="42").id != first.id


def test_the_same_key_with_other_inputs_is_refused_naming_both(engine):
    first = engine.start("order", ["steps.echo"], inputs={"n": 1}, key="42")
    with pytest.raises(KeyConflict, match=first.id) as refused:
        engine.start("order", ["steps.echo"], inputs={"n": 2}, key="42")
    other = engine.start("order", ["steps.echo"], inputs={"n": 2}, key="43")
    with psycopg.connect(engine.settings.database_url) as connection:
        hashes = dict(connection.execute("SELECT key, inputs_hash FROM saga_runs").fetchall())
    assert other.key == "43"
    assert (refused.value.inputs_hash, refused.value.existing_hash) == (hashes["43"], hashes["42"])
    assert all(one[:12] in str(refused.value) for one in hashes.values())
    assert len(engine.list()) == 2


def test_start_stamps_stack_and_environment_unless_the_caller_says_otherwise(settings):
    with Engine(settings.replace(source_stack="blue", source_env="prod")) as engine:
        run = engine.get(engine.start("t", ["steps.echo"]).id)
        assert (run.source_stack, run.source_env) == ("blue", "prod")
        run = engine.get(engine.start("t", ["steps.echo"], source_stack="green", source_env=None).id)
        assert (run.source_stack, run.source_env) == ("green", None)


def test_an_actors_run_records_no_policy_so_that_its_definition_decides(engine):
    assert engine.get(engine.start("t", ["steps.echo"]).id).recovery_policy == "restart"
    assert engine.get(engine.start("t", ["steps.echo"], actor_id="a").id).recovery_policy is None


def test_a_kind_and_key_that_no_index_could_hold_are_refused_by_their_bytes(engine):
    def wide(count):  # four bytes each, and nothing that compresses
        return "".join(chr(0x20000 + n * 7919 % 40_000) for n in range(count))

    assert engine.start(wide(200), ["steps.echo"], key=wide(425)).id
    with pytest.raises(
        InvalidInput, match="kind, key and source_env must be at most 2500 bytes of UTF-8 together, got 2504"
    ):
        engine.start(wide(200), ["steps.echo"], key=wide(426))
    assert engine.start("k" * 200, ["steps.echo"], key="k" * 500).id
    assert len(engine.list()) == 2


def test_start_many_checks_all_before_it_stores_any(engine):
    good = {"kind": "t", "steps": ["steps.echo"]}
    with pytest.raises(InvalidInput):
        engine.start_many([good, {**good, "inputs": 7}])
    assert engine.list() == []
    runs = engine.start_many([{**good, "key": str(n)} for n in range(1200)])
    assert len({run.id for run in runs}) == 1200
    assert [run.id for run in engine.start_many([{**good, "key": "7"}])] == [runs[7].id]
    with pytest.raises(InvalidInput, match="unique in one call"):
        engine.start_many([{**good, "key": "x"}, {**good, "key": "x"}])


def rung_engine(settings):
    rung = []
    return Engine(settings, ring=lambda bells: rung.extend(bell.saga_id for bell in bells)), rung


def test_a_key_that_is_twice_in_one_call_stores_nothing_however_far_apart(engine):
    requests = [{"kind": "t", "steps": ["steps.echo"], "key": str(n)} for n in range(600)]
    for inputs in ({}, {"n": 2}):
        with pytest.raises(InvalidInput, match="keys must be unique in one call, got '7'"):
            engine.start_many([*requests, {**requests[7], "inputs": inputs}])
    assert engine.list() == []


def test_start_many_stores_nothing_of_a_batch_with_a_conflict_and_has_rung_the_batches_before(settings):
    engine, rung = rung_engine(settings)
    requests = [{"kind": "t", "steps": ["steps.echo"], "key": str(n)} for n in range(1200)]
    with engine:
        taken = engine.start("t", ["steps.echo"], key="700", inputs={"n": 1})
        rung.clear()
        with pytest.raises(KeyConflict, match=taken.id):
            engine.start_many(requests)
        stored = {run.key: run.id for run in engine.list(limit=1000) if run.id != taken.id}
        assert stored.keys() == {str(n) for n in range(500)}
        assert rung == [stored[str(n)] for n in range(500)]
        assert len(engine.start_many([*requests[:700], *requests[701:]])) == 1199
        assert len(set(rung)) == 1199


def test_start_many_bounds_a_batch_by_its_bytes_too(settings):
    batches = []
    large = {"text": "x" * 1_000_000}
    with Engine(settings, ring=lambda bells: batches.append(len(bells))) as engine:
        engine.start_many([{"kind": "t", "steps": ["steps.echo"], "inputs": large} for _ in range(20)])
    assert batches == [16, 4]


@pytest.mark.parametrize("commits", [True, False])
def test_a_saga_started_in_a_session_exists_and_is_rung_if_and_only_if_it_commits(settings, database_url, commits):
    engine, rung = rung_engine(settings)
    users = sa.create_engine(sqlalchemy_url(database_url))
    with engine, Session(users) as session:
        run = engine.start("t", ["steps.echo"], key="k", connection=session)
        assert engine.start("t", ["steps.echo"], key="k", connection=session).id == run.id
        assert engine.list() == []
        session.commit() if commits else session.rollback()
        assert rung == ([run.id, run.id] if commits else [])
        assert [r.id for r in engine.list()] == ([run.id] if commits else [])
    users.dispose()


@pytest.mark.parametrize("commits", [True, False])
def test_a_saga_started_on_a_connection_exists_and_is_rung_if_and_only_if_it_commits(settings, database_url, commits):
    engine, rung = rung_engine(settings)
    users = sa.create_engine(sqlalchemy_url(database_url))
    with engine:
        with users.connect() as connection:
            run = engine.start("t", ["steps.echo"], connection=connection)
            connection.commit() if commits else connection.rollback()
        assert rung == ([run.id] if commits else [])
        assert [r.id for r in engine.list()] == ([run.id] if commits else [])
    users.dispose()


def test_a_bare_psycopg_transaction_is_joined_and_rung_by_hand(settings, database_url):
    engine, rung = rung_engine(settings)
    with engine, psycopg.connect(database_url) as connection:
        run = engine.start("t", ["steps.echo"], connection=connection)
        with pytest.raises(SagaNotFound):
            engine.get(run.id)
        connection.commit()
        assert rung == []
        engine.ring(run.id)
        assert rung == [run.id]


def test_a_connection_that_cannot_be_joined_is_refused(engine, database_url, postgres):
    with psycopg.connect(database_url, autocommit=True) as connection:
        with pytest.raises(InvalidInput, match="autocommit"):
            engine.start("t", ["steps.echo"], connection=connection)
        with connection.transaction():
            engine.start("t", ["steps.echo"], connection=connection)
    with psycopg.connect(postgres.url) as connection, pytest.raises(InvalidInput, match="ledger's database"):
        engine.start("t", ["steps.echo"], connection=connection)
    with pytest.raises(InvalidInput, match="must be a SQLAlchemy Connection"):
        engine.start("t", ["steps.echo"], connection="postgresql://")


def test_a_broker_that_is_down_does_not_undo_an_accepted_start(settings):
    def ring(_bells):
        raise ConnectionError("no broker")

    with Engine(settings, ring=ring) as engine:
        run = engine.start("t", ["steps.echo"])
        assert engine.get(run.id).status is RunStatus.PENDING


def test_wait_returns_the_terminal_run_or_says_that_it_goes_on(engine):
    run = engine.start("t", ["steps.echo"])
    with pytest.raises(WaitTimeout, match=run.id):
        engine.wait(run.id, timeout=0.05)
    engine.run(run.id)
    assert engine.wait(run.id, timeout=0.05).status is RunStatus.COMPLETED


def test_lists_are_filtered_ordered_and_paged_and_unknown_words_refused(engine):
    runs = [engine.start("a" if n % 2 else "b", ["steps.echo"], key=str(n)) for n in range(6)]
    engine.run(runs[0].id)
    assert [r.id for r in engine.list(order="asc")] == [r.id for r in runs]
    assert [r.key for r in engine.list(kind="a")] == ["5", "3", "1"]
    assert [r.key for r in engine.list(status="completed")] == ["0"]
    assert [r.key for r in engine.list(status=["pending", "completed"], limit=2, offset=1)] == ["4", "3"]
    with pytest.raises(InvalidInput, match="status must be one of"):
        engine.list(status="done")
    for page in ({"limit": 0}, {"limit": 1001}, {"limit": "5"}, {"offset": -1}, {"offset": 2**63}, {"offset": True}):
        with pytest.raises(InvalidInput, match=f"{next(iter(page))} must be a whole number"):
            engine.list(**page)
    with pytest.raises(SagaNotFound):
        engine.list_step_results("00000000-0000-0000-0000-000000000000")


@pytest.mark.parametrize("step", ["TakesADataclass", "TakesAModel"])
def test_inputs_that_do_not_suit_what_a_step_declares_are_refused(engine, step):
    steps = ["steps.echo", f"tests.episodes.steps:{step}"]
    assert engine.start("typed", steps, inputs={"card": "tok_1", "more": True}).inputs == {
        "card": "tok_1",
        "more": True,
    }
    for inputs in ({}, {"card": "4242"}):
        with pytest.raises(
            InvalidInput, match=rf"(?s)inputs must suit step 'tests.episodes.steps:{step}', got \w+Error: .*card"
        ):
            engine.start("typed", steps, inputs=inputs)
    assert len(engine.list()) == 1
