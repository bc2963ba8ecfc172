"""The faults, each aimed as the plan says, and a record of where each really hit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from chaos import plan
from chaos.stage import BEATS, CLIENTS, MAINS, Stage

AT_WORK = 0.5
TRIES = 3
AIM_SECONDS = 4.0  # how long a fault looks for a victim before it comes back later


@dataclass(frozen=True, slots=True)
class Hit:
    """A process that was killed or stopped, and when. `inside`: the user code that it had announced and not left."""

    at: float
    pid: int
    fault: str
    inside: str = ""


@dataclass(frozen=True, slots=True)
class Aim:
    """A process that announced the user code it is in."""

    pid: int
    text: str


class Faults:
    """Carries out the plan. Faults that found no victim are counted as not fired, and tried again at the end."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._draw = random.Random(f"{seed}:aim")  # noqa: S311 - a schedule, not a secret
        self.fired: Counter[str] = Counter()
        self.hits: list[Hit] = []
        self.done: list[tuple[float, float, str]] = []  # the beginning and end of each fault
        self.away: list[tuple[float, float]] = []  # the times when the database was away
        self.last_at = time.time()
        self._stopped: set[int] = set()  # processes that sleep now
        self._mains = threading.Lock()
        self._database = threading.Lock()
        self._broker = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=24, thread_name_prefix="fault")
        self._acts: dict[str, Callable[[], bool]] = {
            "child in execute": lambda: self._kill_inside("execute", "child in execute"),
            "child in compensate": lambda: self._kill_inside("compensate", "child in compensate"),
            "child anywhere": self._kill_child,
            "main": self._kill_main,
            "beat": lambda: self._kill(self._stage.supervisor.pid(self._draw.choice(BEATS)), "beat"),
            "client": lambda: self._kill(self._stage.clients.pid(self._draw.choice(CLIENTS)), "client"),
            "pause": lambda: self._pause("execute tombstone", self._draw.uniform(2, 3) * plan.LEASE, "pause"),
            "short pause": lambda: self._pause("execute", self._draw.uniform(3.7, 4.4), "short pause"),
            "backend": self._end_backend,
            "cut": self._cut,
            "database restart": lambda: self._database_away(0),
            "database outage": lambda: self._database_away(2 * plan.LEASE),
            "broker restart": self._restart_broker,
            "broker flush": self._flush_broker,
        }

    def act(self, fault: str) -> Future[None]:
        """Begin one fault. The future is done when the fault is over."""
        return self._pool.submit(self._one, fault)

    def close(self) -> None:
        self._pool.shutdown()

    def _one(self, fault: str) -> None:
        for _ in range(TRIES):
            began = time.time()
            with contextlib.suppress(psycopg.Error, redis.RedisError, ProcessLookupError):
                if self._acts[fault]():
                    self.fired[fault] += 1
                    self.done.append((began, time.time(), fault))
                    self.last_at = max(self.last_at, time.time())
                    return
            time.sleep(0.5)

    # -- processes -----------------------------------------------------------------------------------------------------

    def _insiders(self, what: str) -> list[Aim]:
        """The processes that have announced to be inside `what`. Files of dead processes are removed."""
        found = []
        for said in self._stage.inside.iterdir():
            with contextlib.suppress(FileNotFoundError):
                text = said.read_text()
                if not _lives(int(said.name)):
                    said.unlink()
                elif text.startswith(what):
                    found.append(Aim(int(said.name), text))
        return found

    def _is_still(self, aim: Aim) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return (self._stage.inside / str(aim.pid)).read_text() == aim.text
        return False

    def _aimed(self, what: str) -> Iterator[Aim]:
        until = time.monotonic() + AIM_SECONDS
        while time.monotonic() < until:
            insiders = self._insiders(what)
            if insiders:
                yield self._draw.choice(insiders)
            time.sleep(0.004)

    def _kill_inside(self, what: str, fault: str) -> bool:
        for aim in self._aimed(what):
            if aim.pid in self._stopped:
                continue
            at = time.time()
            os.kill(aim.pid, signal.SIGKILL)
            _gone(aim.pid)
            is_inside = self._is_still(aim)
            self.hits.append(Hit(at, aim.pid, fault if is_inside else "child anywhere", aim.text if is_inside else ""))
            if is_inside:
                return True
            self.fired["child anywhere"] += 1
        return False

    def _kill_child(self) -> bool:
        """Kill a pool child, every second time one that is at work."""
        children = [aim.pid for aim in self._insiders("") if self._draw.random() < AT_WORK]
        children = children or [pid for main in MAINS for pid in self._stage.children(main)]
        children = [pid for pid in children if pid not in self._stopped]
        return self._kill(self._draw.choice(children) if children else None, "child anywhere")

    def _kill(self, pid: int | None, fault: str) -> bool:
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        self.hits.append(Hit(time.time(), pid, fault))
        return True

    def _kill_main(self) -> bool:
        """Kill a main process while both are at work; if possible one with no sleeping child, whose late writes are wanted too.

        Without any worker no saga is resumed before a worker has started, and the run would measure only that. So there is
        one kill at a time: two waiting kills would find both mains at work at the same moment, and kill both.
        """
        with self._mains:
            return self._kill_a_main()

    def _kill_a_main(self) -> bool:
        until = time.monotonic() + AIM_SECONDS
        pools = {main: set(self._stage.children(main)) for main in MAINS}
        while not self._are_at_work(pools.values()):
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
            pools = {main: set(self._stage.children(main)) for main in MAINS}

        def unfit(main: str) -> tuple[bool, float]:
            return bool(pools[main] & self._stopped), self._draw.random()

        victim = min(MAINS, key=unfit)
        pid, children = self._stage.supervisor.pid(victim), sorted(pools[victim])
        if pid is None or not children:
            return False
        at = time.time()
        os.kill(pid, signal.SIGKILL)
        _gone(pid)  # until it is dead, the next kill would take its pool for one at work
        self.hits.append(Hit(at, pid, "main"))
        self.hits += [Hit(at, child, "child of main") for child in children]
        return True

    def pools(self) -> dict[int, list[int]]:
        """By pid of each pool's main: its children that live and are not stopped."""
        mains = {pid: main for main in MAINS if (pid := self._stage.supervisor.pid(main)) is not None}
        return {
            pid: [child for child in self._stage.children(main) if child not in self._stopped and _lives(child)]
            for pid, main in mains.items()
        }

    def _are_at_work(self, pools: Iterable[set[int]]) -> bool:
        busy = {aim.pid for aim in self._insiders("")} - self._stopped
        return all(busy & pool for pool in pools)

    def _pause(self, what: str, seconds: float, fault: str) -> bool:
        for aim in self._aimed(what):
            if aim.pid in self._stopped:
                continue
            os.kill(aim.pid, signal.SIGSTOP)
            try:
                if not self._is_still(aim):
                    continue
                self.hits.append(Hit(time.time(), aim.pid, fault, aim.text))
                self._stopped.add(aim.pid)
                time.sleep(seconds)
                return True
            finally:
                self._stopped.discard(aim.pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(aim.pid, signal.SIGCONT)
        return False

    # -- servers -------------------------------------------------------------------------------------------------------

    def _end_backend(self) -> bool:
        ended = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'sagaworker' ORDER BY random() LIMIT 1
        """
        with psycopg.connect(self._stage.postgres.url, autocommit=True, connect_timeout=2) as connection:
            return connection.execute(ended).fetchone() == (True,)

    def _cut(self) -> bool:
        before = self._stage.relay.cut_lines
        self._stage.relay.cut(self._draw)
        until = time.monotonic() + AIM_SECONDS
        while self._stage.relay.cut_lines == before and time.monotonic() < until:
            time.sleep(0.01)
        return self._stage.relay.cut_lines > before

    def _database_away(self, seconds: float) -> bool:
        with self._database:
            began = time.time()
            self._stage.postgres.kill()
            time.sleep(seconds)
            self._stage.postgres.start()
            self.away.append((began, time.time()))
        return True

    def _restart_broker(self) -> bool:
        with self._broker:
            self._stage.valkey.kill()
            self._stage.valkey.start()
        return True

    def _flush_broker(self) -> bool:
        with self._broker, redis.Redis.from_url(self._stage.valkey.url) as client:
            client.flushall()
        return True

    @contextmanager
    def healed(self) -> Iterator[None]:
        """After the last fault: let stopped processes go on."""
        for main in MAINS:
            for pid in self._stage.children(main):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        yield


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _gone(pid: int) -> None:
    until = time.monotonic() + 2
    while _lives(pid) and time.monotonic() < until:
        time.sleep(0.002)
