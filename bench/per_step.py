"""The cost of one step: the hand-written loop, this engine and the peers, in turns on the same server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from bench.loop import Loop
from bench.ours import Ours
from bench.peers import NotRun, Peer
from bench.report import Report, Row, Target, of_rounds
from bench.server import Server, say

SECTION = "one step of a saga of ten trivial steps, one connection"
STEPS = 10
TITLES = {"loop": "hand-written loop", "ours": "engine", "dbos": "DBOS", "absurd": "absurd"}
PEER_TARGETS = {"absurd": Target("at least", 2), "dbos": Target("at least", 5)}


class Party(Protocol):
    """Who is measured."""

    name: str

    def measure(self, sagas: int, steps: int) -> Mapping[str, float]:
        """Seconds for so many sagas: `start_and_run`, and `run` where the two are separate."""
        ...


@dataclass(slots=True)
class Times:
    """Milliseconds a step of one party, a figure a round; and the writes of one saga of ten steps."""

    run: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    marginal: list[float] = field(default_factory=list)
    commits: float = 0.0
    wal: float = 0.0


def measure(server: Server, report: Report, *, rounds: int, sagas: int) -> None:
    """Rounds of all parties in turn (A B C D A B C D ...), so that a drifting machine drifts under all of them."""
    with ExitStack() as stack:
        loop = stack.enter_context(closing(Loop(server.database("bench_loop"))))
        ours = stack.enter_context(closing(Ours(server.database("bench_ours"))))
        parties: list[Party] = [loop, ours]
        absent = _enter_peers(server, report, stack, parties)
        times = {party.name: Times() for party in parties}
        for party in parties:
            say(f"warming up {TITLES[party.name]}")
            party.measure(sagas, STEPS)
            server.settle(f"bench_{party.name}")
            party.measure(max(10, sagas // 3), STEPS)
        for number in range(rounds):
            say(f"steps, round {number + 1} of {rounds}")
            for party in parties:
                _round(party, times[party.name], sagas)
        for party in parties:
            before = server.mark()
            party.measure(sagas, STEPS)
            after = server.mark()
            times[party.name].commits = (after.commits - before.commits) / sagas
            times[party.name].wal = (after.wal_bytes - before.wal_bytes) / sagas / 1024
    report.add(_against_the_loop(times))
    report.add(_against_the_peers(times, absent))
    report.add(_written(times))


def _enter_peers(server: Server, report: Report, stack: ExitStack, parties: list[Party]) -> dict[str, str]:
    """Start the peers; return each peer that could not be started, with the reason."""
    absent: dict[str, str] = {}
    for name in ("dbos", "absurd"):
        try:
            peer = stack.enter_context(Peer(name, server.database(f"bench_{name}")))
        except NotRun as reason:
            absent[name] = str(reason)
            report.peers[name] = "not run"
        else:
            parties.append(peer)
            report.peers[name] = peer.version
    return absent


def _round(party: Party, times: Times, sagas: int) -> None:
    ten, one = party.measure(sagas, STEPS), party.measure(sagas, 1)
    steps = sagas * STEPS
    times.whole.append(ten["start_and_run"] / steps * 1000)
    times.marginal.append((ten["start_and_run"] - one["start_and_run"]) / (sagas * (STEPS - 1)) * 1000)
    if "run" in ten:
        times.run.append(ten["run"] / steps * 1000)


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def _against_the_loop(times: Mapping[str, Times]) -> list[Row]:
    loop, ours = times["loop"], times["ours"]
    floor = min(loop.run)
    return [
        of_rounds(SECTION, "hand-written loop, a step", loop.run, "ms", note=f"best round {floor:.2f} ms"),
        of_rounds(
            SECTION, "engine.run, claim to completed, a step", ours.run, "ms", note=f"best {min(ours.run):.2f} ms"
        ),
        of_rounds(
            SECTION,
            "engine / loop",
            _ratios(ours.run, loop.run),
            "×",
            target=Target("at most", 1.5),
            note=_later(median(_ratios(ours.run, loop.run))),
        ),
        of_rounds(SECTION, "engine / loop, start included", _ratios(ours.whole, loop.whole), "×"),
        of_rounds(
            SECTION,
            "engine / loop, each further step",
            _ratios(ours.marginal, loop.marginal),
            "×",
            note="(ten steps - one step) / 9: what neither start nor claim is in",
        ),
    ]


def _later(ratio: float) -> str:
    return f"later target ≤ 1.25: {Target('at most', 1.25).verdict(ratio)}"


def _against_the_peers(times: Mapping[str, Times], absent: Mapping[str, str]) -> list[Row]:
    section = "the same, start included, against the peers"
    ours = times["ours"]
    rows = [of_rounds(section, "engine, start and run, a step", ours.whole, "ms")]
    for name, target in PEER_TARGETS.items():
        title = TITLES[name]
        if name in absent:
            rows.append(
                Row(section=section, what=f"{title} / engine", value=None, unit="×", target=target, note=absent[name])
            )
            continue
        peer = times[name]
        rows += [
            of_rounds(section, f"{title}, start and run, a step", peer.whole, "ms"),
            of_rounds(section, f"{title} / engine", _ratios(peer.whole, ours.whole), "×", target=target),
            of_rounds(section, f"{title} / engine, each further step", _ratios(peer.marginal, ours.marginal), "×"),
        ]
    return rows


def _written(times: Mapping[str, Times]) -> list[Row]:
    section = "what a saga of ten steps writes, start included"
    return [
        Row(
            section=section,
            what=f"{TITLES[name]}, commits that wrote",
            value=figures.commits,
            unit="",
            note=f"{figures.wal:.1f} kB of write-ahead log",
        )
        for name, figures in times.items()
    ]
