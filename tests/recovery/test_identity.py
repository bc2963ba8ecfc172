"""The ledger's identity: asked for once, by nobody who must have no connection, and not at every ring where it is refused."""

import psycopg
import pytest

from sagaworker.engine import Engine
from tests.holding import claimed


@pytest.fixture
def asked(monkeypatch):
    """How often it was asked for; raises what is put into the list `refusals`."""
    times, refusals = [], []

    def reads_identity(_reads):
        times.append(1)
        if refusals:
            raise refusals[0]
        return "an identity"

    monkeypatch.setattr("sagaworker.ledger.reads.Reads.identity", reads_identity)
    return times, refusals


def test_it_is_asked_for_once(engine, asked):
    bells = []
    with Engine(engine.settings, ring=bells.extend) as other:
        for _ in range(3):
            other.start("t", ["steps.echo"])
    assert len(asked[0]) == 1
    assert {bell.ledger for bell in bells} == {"an identity"}


def test_where_it_is_refused_it_is_not_asked_for_at_every_ring(engine, asked):
    """A role without a right to read it, say: each refusal would cost a connection."""
    asked[1].append(psycopg.errors.InsufficientPrivilege("permission denied for table saga_ledger"))
    bells = []
    with Engine(engine.settings, ring=bells.extend) as other:
        for _ in range(5):
            other.start("t", ["steps.echo"])
    assert len(asked[0]) == 1
    assert [bell.ledger for bell in bells] == [None] * 5


def test_a_database_that_was_moved_is_known_by_its_new_identity_soon(engine, asked, monkeypatch):
    """To a new cluster by logical replication, say: what long-lived clients ring must not be taken for another ledger's."""
    bells = []
    with Engine(engine.settings, ring=bells.extend) as other:
        other.start("t", ["steps.echo"])
        monkeypatch.setattr("sagaworker.ledger.reads.Reads.identity", lambda _reads: "another")
        other.start("t", ["steps.echo"])
        other._ask_ledger_at = 0.0  # a minute later
        other.start("t", ["steps.echo"])
        assert [bell.ledger for bell in bells] == ["an identity", "an identity", "another"]
        assert other.ledger_id_now() == "another"


def test_a_witness_keeps_no_connection(engine):
    """Main forks children afterwards: none may inherit one."""
    run = engine.start("t", ["steps.echo"] * 2, recovery_policy="restart")
    claimed(engine, run.id).close()
    bells = []
    with Engine(engine.settings, ring=bells.extend) as main:
        assert main.take_over_dead(engine.owner) == 1
        assert main.database.engine.pool.checkedin() == 0
    assert [bell.ledger for bell in bells] == [engine.ledger_id]
    assert engine.ledger_id is not None
