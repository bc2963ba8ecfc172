"""A Hypothesis state machine: two workers, a few sagas, and everything that may befall them, on real PostgreSQL."""

from __future__ import annotations

import contextlib
import uuid

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.engine import Engine
from sagaworker.errors import MoveRefused
from sagaworker.ledger import audit
from sagaworker.settings import Settings
from tests.holding import expire
from tests.properties.world import Puppet, World
from tests.showing import timeline

S = "tests.properties.steps:"
NAMES = [S + name for name in ("Plain", "Plain", "Patient", "Parking", "Careful", "Tombstoned", "Asking")]
ROUNDS = 40  # the stuck bound: sweeps after which every saga has ended once nothing goes wrong any more
OPTIONS = {"max_recoveries": 1, "on_compensation_failure": "halt"}
POLICIES = ("restart", "restart", "compensate")
PARKED = ("hold", "operator")
FORWARD = ("ok", "ok", "ok", "stop", "decline", "raise", "raise early", "die", "act, die")
BACKWARD = ("ok", "ok", "stop", "raise early", "die", "act, die")


class Machine(RuleBasedStateMachine):
    """`database_url` is set by the test. Every example has sagas of its own in the same database."""

    database_url = ""

    def __init__(self) -> None:
        super().__init__()
        settings = Settings.from_env(
            {},
            database_url=self.database_url,
            step_packages=("steps", "tests.properties"),
            lease=3600.0,
            sweep_interval=3600.0,
        )
        self.bells: list[str] = []
        self.is_starting = False  # the one bell of a saga whose id is not known yet; all others are of our own sagas
        self.world = World()
        self.engines = [Engine(settings, ring=self._rung) for _ in range(2)]
        self.engine = self.engines[0]
        self.puppets = [Puppet(engine, self.world) for engine in self.engines]
        self.sagas: list[str] = []
        self.requests: dict[str, list[str]] = {}
        self.accepted: set[str] = set()
        self.dead: list[str] = []
        self.audits = 0

    def _rung(self, doorbells) -> None:
        self.bells += [bell.saga_id for bell in doorbells if self.is_starting or bell.saga_id in self.sagas]
        # In whatever order the database returned them: a life must go the same way when it is lived again.
        self.bells.sort(key=lambda saga_id: self.sagas.index(saga_id) if saga_id in self.sagas else len(self.sagas))

    # -- rules ---------------------------------------------------------------------------------------------------------

    @initialize(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), policy=st.sampled_from(POLICIES))
    def one_is_running(self, names, policy):
        self.begin(names, policy)
        self.arrive(self.puppets[0], self.bells.pop())

    @precondition(lambda self: len(self.sagas) < 2)
    @rule(
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
        policy=st.sampled_from(POLICIES),
        keyed=st.booleans(),
    )
    def start(self, names, policy, keyed):
        self.begin(names, policy, uuid.uuid4().hex if keyed else None)

    def begin(self, names, policy, key=None):
        self.is_starting = True
        run = self.engine.start("t", names, key=key, recovery_policy=policy, **OPTIONS)
        self.is_starting = False
        self.sagas.append(run.id)
        self.requests[run.id] = names
        if key is not None:
            again = self.engines[1].start("t", names, key=key, recovery_policy=policy, **OPTIONS)
            assert again.id == run.id

    @precondition(lambda self: self.bells and any(p.is_idle for p in self.puppets))
    @rule(n=st.integers(0, 1), at=st.integers(0, 9), stops=st.sampled_from([False, False, False, True]))
    def deliver(self, n, at, stops):
        idle = [p for p in self.puppets if p.is_idle]
        self.arrive(idle[n % len(idle)], self.bells.pop(at % len(self.bells)), stops=stops)

    @precondition(lambda self: self.bells)
    @rule(at=st.integers(0, 9), twice=st.booleans())
    def lose_or_double_a_bell(self, at, twice):
        saga_id = self.bells.pop(at % len(self.bells))
        self.bells += [saga_id, saga_id] if twice and len(self.bells) < 4 else []

    @precondition(lambda self: any(not p.is_idle for p in self.puppets))
    @rule(n=st.integers(0, 1), forward=st.sampled_from(FORWARD), backward=st.sampled_from(BACKWARD))
    def move(self, n, forward, backward):
        busy = [p for p in self.puppets if not p.is_idle]
        puppet = busy[n % len(busy)]
        self.tell(puppet, forward if puppet.inside[0] == "execute" else backward)

    @precondition(lambda self: self.open_sagas())
    @rule(n=st.integers(0, 1), sweeps=st.booleans())
    def the_lease_runs_out(self, n, sweeps):
        sagas = self.open_sagas()
        expire(self.engine, sagas[n % len(sagas)])
        if sweeps:
            self.sweep()

    @precondition(lambda self: self.sagas)
    @rule()
    def sweep(self):
        self.engine.sweep()

    @precondition(lambda self: self.dead)
    @rule()
    def witness(self):
        self.engines[1].take_over_dead(self.dead.pop())

    @precondition(lambda self: self.sagas)
    @rule(n=st.integers(0, 1))
    def cancel(self, n):
        saga_id = self.sagas[n % len(self.sagas)]
        if self.engines[1].cancel(saga_id) != "not_active":
            self.accepted.add(saga_id)

    @precondition(lambda self: self.sagas)
    @rule()
    def an_hour_passes(self):
        self.sql("UPDATE saga_runs SET wake_at = now() WHERE id = ANY(%s) AND wake_at IS NOT NULL")
        self.engine.ring_due()

    @precondition(lambda self: self.sagas)
    @rule()
    def the_hard_end(self):
        """No process lives on in an attempt that was given up; with that its quarantine is over."""
        for puppet in self.puppets:
            if not puppet.is_idle and puppet.inside[3] != self.engine.get(puppet.saga_id).fence:
                self.tell(puppet, "die")
        self.sql(
            "UPDATE saga_step_results SET quarantine_until = now()"
            " WHERE saga_id = ANY(%s) AND quarantine_until IS NOT NULL"
        )
        self.an_hour_passes()

    @precondition(lambda self: self.sagas)
    @rule(n=st.integers(0, 1), act=st.sampled_from(["hold", "release", "decide", "skip"]))
    def a_person_acts(self, n, act):
        self.person(self.sagas[n % len(self.sagas)], act)

    # -- what the rules do ---------------------------------------------------------------------------------------------

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement, [self.sagas])

    def person(self, saga_id: str, act: str) -> None:
        """An operator's move; what is refused changes nothing. To decide is to look at the world, and tell or try again."""
        run = self.engine.get(saga_id)
        with contextlib.suppress(MoveRefused):
            if act in ("hold", "release", "skip"):
                getattr(self.engine, act)(saga_id, reason="as told", who="ann")
            elif run.waiting_for == "operator" and run.status is RunStatus.RUNNING:
                happened = self.world.effects[saga_id, run.current_step_idx]
                self.engine.resolve(saga_id, happened=happened, outputs={}, reason="looked", who="ann")
            else:
                self.engine.retry(saga_id, reason="as told", who="ann")

    def open_sagas(self) -> list[str]:
        return [s for s in self.sagas if any(e.ended_at is None for e in self.engine.timeline(s).episodes)]

    def arrive(self, puppet: Puppet, saga_id: str, *, stops: bool = False) -> None:
        puppet.deliver(saga_id, stops=stops)
        self.inside_is_on_record(puppet)

    def tell(self, puppet: Puppet, command: str) -> None:
        """A worker that was taken over changes nothing on record, whatever it does."""
        before = self.engine.timeline(puppet.saga_id)
        is_late = puppet.inside[3] != before.run.fence
        puppet.tell(command)
        if command.endswith("die"):
            if not is_late:
                self.dead.append(puppet.engine.owner)
            puppet.engine.owner = str(uuid.uuid4())
        if is_late:
            after = self.engine.timeline(puppet.saga_id)
            assert (before.run, before.steps, before.journal) == (after.run, after.steps, after.journal), (
                f"a late worker wrote: {command}\n" + timeline(self.engine, puppet.saga_id)
            )
            assert puppet.is_idle, "a late worker went on\n" + timeline(self.engine, puppet.saga_id)
        elif puppet.is_idle and not command.endswith("die"):
            assert puppet.saga_id not in self.open_sagas(), "its holder gave up and nobody had taken over\n" + timeline(
                self.engine, puppet.saga_id
            )
        self.inside_is_on_record(puppet)

    def inside_is_on_record(self, puppet: Puppet) -> None:
        if puppet.inside is None:
            return
        what, idx, attempt, fence = puppet.inside
        found = self.engine.timeline(puppet.saga_id)
        shown = f"{puppet.inside} is not on record\n" + timeline(self.engine, puppet.saga_id)
        assert found.run.fence == fence, shown
        wanted = StepStatus.RUNNING if what == "execute" else StepStatus.COMPENSATING
        assert (found.steps[idx].status, found.run.current_step_idx) == (wanted, idx), shown
        assert what == "undo" or found.steps[idx].attempts == attempt, shown

    # -- what is always so ---------------------------------------------------------------------------------------------

    @invariant()
    def the_ledger_is_sound(self):
        if not self.sagas:
            return
        sweep_interval = self.engine.settings.sweep_interval
        found = audit.audit(self.engine.database, sweep_interval=sweep_interval, saga_ids=self.sagas)
        first = next((f"{finding.rule}: {finding.detail}" for finding in found), "")
        assert found == [], f"{first}\n{self.shown()}"

    @invariant()
    def the_world_agrees(self):
        assert self.world.problems == [], self.shown()
        for saga_id in self.sagas:
            run = self.engine.get(saga_id)
            steps = self.engine.list_step_results(saga_id)
            skipped = {step.step_idx for step in steps if step.status is StepStatus.SKIPPED}
            left = [idx for idx in self.world.left(saga_id) if idx not in skipped]
            assert self.engine.explain(saga_id).text, "what is on record can be explained"
            shown = f"effects left: {left}\n" + timeline(self.engine, saga_id)
            if run.status is RunStatus.COMPLETED:
                assert left == list(range(len(self.requests[saga_id]))), shown
                assert saga_id not in self.accepted, "a cancel was accepted\n" + shown
            if run.status is RunStatus.ROLLED_BACK:
                assert left == [], shown
            if run.status is RunStatus.FAILED:
                assert any(step.status is StepStatus.COMPENSATION_FAILED for step in steps), shown
            for step in steps:
                entered = sum(1 for saga, idx, _ in self.world.entered if (saga, idx) == (saga_id, step.step_idx))
                assert step.attempts <= entered + step.recoveries + (run.status is RunStatus.RUNNING), shown
                assert step.in_doubt <= entered + step.recoveries, shown

    def shown(self) -> str:
        return "\n".join([*self.world.problems, *(timeline(self.engine, saga_id) for saga_id in self.sagas)])

    # -- the end -------------------------------------------------------------------------------------------------------

    def teardown(self):
        try:
            if not self.world.problems:
                self.all_end()
        finally:
            for puppet in self.puppets:
                while not puppet.is_idle:
                    puppet.tell("die")
            for engine in self.engines:
                engine.close()

    def all_end(self) -> None:
        """Nothing goes wrong any more, bells arrive, and people decide: every saga ends."""
        for puppet in self.puppets:
            self.walk_on(puppet)
        for _ in range(ROUNDS):
            if all(self.is_at_rest(saga_id) for saga_id in self.sagas):
                break
            for saga_id in self.open_sagas():
                expire(self.engine, saga_id)
            self.the_hard_end()
            for saga_id in self.sagas:
                if self.engine.get(saga_id).waiting_for in PARKED:
                    self.person(saga_id, "release")
                    self.person(saga_id, "decide")
            self.engine.sweep()
            while self.bells:
                self.arrive(self.puppets[0], self.bells.pop())
                self.walk_on(self.puppets[0])
        assert self.world.problems == [], self.shown()
        for saga_id in self.sagas:
            assert self.is_at_rest(saga_id), "stuck\n" + timeline(self.engine, saga_id)
        self.the_ledger_is_sound()
        self.the_world_agrees()

    def walk_on(self, puppet: Puppet) -> None:
        while not puppet.is_idle:
            self.tell(puppet, "ok")

    def is_at_rest(self, saga_id: str) -> bool:
        return self.engine.get(saga_id).status.is_terminal
