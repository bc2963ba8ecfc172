"""Everything at once: bells doubled, late and lost, yields, cancels, holds, sweeps, false takeovers, killed connections.

Afterwards the audit is empty, and the effects, noted outside the ledger, agree with it.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter, defaultdict

import psycopg
import pytest

from sagaworker import RetryPolicy, StepFailed
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.engine import Engine
from sagaworker.episodes import ThreadPlace
from sagaworker.ledger.outage import OUTAGE
from sagaworker.settings import Settings
from tests.waiting import PATIENCE, wait_until

SAGAS, THREADS, ENDED, SEED = 50, 16, 100, 20261121
POLICIES = ("restart", "compensate", "hold")
JOURNAL: list[tuple[str, str, int, int]] = []


class Storms:
    """What an attempt comes to is drawn by who it is, so that a resend draws the same."""

    RETRY = RetryPolicy(max_attempts=6, base=0.002, retry_on=(Exception,))
    COMPENSATE_RETRY = RetryPolicy(max_attempts=50, base=0.001, max_delay=0.01)
    TOMBSTONE = True

    def execute(self, state):
        draw = random.Random(f"{SEED} {state.idempotency_key} {state.attempt}")
        dice = draw.random()
        if dice < 0.03:
            JOURNAL.append(("declined", state.saga_id, state.step_idx, state.attempt))
            raise StepFailed("declined")
        JOURNAL.append(("execute", state.saga_id, state.step_idx, state.attempt))
        time.sleep(draw.random() * 0.03)  # noqa: TID251 - steps of all lengths meet
        if dice < 0.15:
            raise ConnectionError("maybe it arrived")
        return state.put_output(f"at_{state.step_idx}", state.attempt)

    def compensate(self, state):
        JOURNAL.append(("undo", state.saga_id, state.step_idx, state.attempt))
        if random.Random(f"{SEED} {state.idempotency_key} {state.attempt}").random() < 0.2:
            raise ConnectionError("maybe it arrived")


@pytest.fixture
def engines(database_url):
    settings = Settings.from_env(
        {},
        database_url=database_url,
        step_packages=("tests.attacks",),
        lease=1.0,
        sweep_interval=0.1,
        step_timeout=5,
        step_grace=0.1,
    )
    with Engine(settings) as one, Engine(settings) as two:
        yield one, two


class Sagas:
    """A fixed number of places; a saga that is seen to be over makes room for another."""

    def __init__(self, engine):
        self._engine = engine
        self.all = []
        self._places = [self._started() for _ in range(SAGAS)]

    def _started(self):
        steps = ["tests.attacks.test_storm:Storms"] * (2 + len(self.all) % 9)
        run = self._engine.start("t", steps, recovery_policy=POLICIES[len(self.all) % 7 % 3])
        self.all.append(run.id)
        return run.id

    def pick(self, dice):
        return dice.choice(self._places)

    def replace(self, saga_id):
        with contextlib.suppress(ValueError):
            self._places[self._places.index(saga_id)] = self._started()


def ring(engine, saga_id, dice, sagas):
    stops = iter([False] * dice.randrange(20))
    end = engine.run_episode(saga_id, place=ThreadPlace(), should_stop=lambda: next(stops, True))
    if end.status.is_terminal:
        sagas.replace(saga_id)


def storm(engines, sagas, number):
    dice = random.Random(SEED + number)
    url = engines[0].settings.database_url
    with psycopg.connect(url, autocommit=True) as own:

        def sql(statement, *parameters):
            own.execute(statement, parameters)

        acts = {
            "ring": (60, lambda e, s: ring(e, s, dice, sagas)),
            "sweep": (8, lambda e, _s: e.sweep()),
            "ring due": (5, lambda e, _s: e.ring_due()),
            "cancel": (3, lambda e, s: e.cancel(s)),
            "read": (4, lambda e, s: e.timeline(s)),
            "expire": (
                14,
                lambda _e, s: sql(
                    "UPDATE saga_episodes SET lease_until = now() - interval '1 minute'"
                    " WHERE saga_id = %s AND ended_at IS NULL",
                    s,
                ),
            ),
            "hold": (
                6,
                lambda _e, s: sql(
                    "UPDATE saga_runs SET waiting_for = 'hold', wake_at = NULL"
                    " WHERE id = %s AND status IN ('running', 'compensating') AND waiting_for IS NULL",
                    s,
                ),
            ),
            "release": (
                10,
                lambda _e, s: sql(
                    "UPDATE saga_runs SET waiting_for = NULL, wake_at = now() WHERE id = %s AND waiting_for = 'hold'", s
                ),
            ),
            "kill": (
                4,
                lambda _e, _s: sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name = 'sagaworker' ORDER BY random() LIMIT 1"
                ),
            ),
        }
        names = list(acts)
        weights = [acts[name][0] for name in names]
        while len(sagas.all) < SAGAS + ENDED:
            name = dice.choices(names, weights)[0]
            with contextlib.suppress(*OUTAGE):
                acts[name][1](dice.choice(engines), sagas.pick(dice))


def end_all(engine, ids):
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute("UPDATE saga_runs SET waiting_for = NULL, wake_at = now() WHERE waiting_for = 'hold'")

    def are_over():
        engine.sweep()
        left = [saga_id for saga_id in ids if not engine.get(saga_id).status.is_terminal]
        for saga_id in left:
            engine.run_episode(saga_id, place=ThreadPlace())
        return not left

    wait_until(are_over)


def test_after_a_storm_the_ledger_is_sound_and_agrees_with_the_effects(engines):
    JOURNAL.clear()
    one = engines[0]
    sagas = Sagas(one)
    failures = []

    def body(number):
        try:
            storm(engines, sagas, number)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=body, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
        assert not thread.is_alive(), f"{ENDED} sagas must end in the storm, got {len(sagas.all) - SAGAS}"
    if failures:
        raise failures[0]
    end_all(one, sagas.all)
    # A hold that a test sets by SQL has no journal row: invariant 23 says so, rightly.
    assert [finding for finding in one.audit() if finding.invariant != 23] == []
    ended = Counter()
    for saga_id in sagas.all:
        ended[check(one, saga_id)] += 1
    assert min(ended[RunStatus.COMPLETED], ended[RunStatus.ROLLED_BACK]) > 10, ended


def check(engine, saga_id):
    found = engine.timeline(saga_id)
    shown = "\n".join(map(str, (found.run, *found.steps, *found.journal)))
    effects = [entry for entry in JOURNAL if entry[1] == saga_id]
    entered = Counter((idx, attempt) for what, _, idx, attempt in effects if what in ("execute", "declined"))
    assert max(entered.values(), default=1) == 1, f"an attempt was entered twice {entered}\n{shown}"
    attempts = defaultdict(set)
    for what, _, idx, attempt in effects:
        attempts[what, idx].add(attempt)
    status = found.run.status
    for row in found.steps:
        if row.status is StepStatus.COMPLETED:
            assert row.attempts in attempts["execute", row.step_idx], shown
            assert row.output == {f"at_{row.step_idx}": row.attempts}, shown
        if status is RunStatus.ROLLED_BACK and attempts["execute", row.step_idx]:
            assert row.status is StepStatus.COMPENSATED, shown
            assert attempts["undo", row.step_idx], shown
        assert row.attempts <= 1 + max(attempts["execute", row.step_idx] | attempts["declined", row.step_idx] | {0}), (
            shown
        )
    undone = [entry.step_idx for entry in found.journal if entry.type == "step.compensated"]
    assert undone == sorted(set(undone), reverse=True), shown
    first = {}
    for place, (what, _, idx, _attempt) in enumerate(effects):
        if what == "undo":
            first.setdefault(idx, place)
    assert sorted(first, key=first.get) == sorted(first, reverse=True), f"undone out of order\n{shown}"
    return status
