"""Every move: its maker, its status before and its status after. One line here is one statement file of that name.

The first line of each file says the same, and a test compares. Other lists of moves are made from this table: the
failpoints (`failpoints.py`), the moves refused to a late worker (tests/races), and the picture in docs/architecture.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Maker(StrEnum):
    """Who makes a move. The comment beside each says what the move has to prove before it changes a run."""

    CALLER = "caller"  # anybody: proves the run's status
    HOLDER = "holder"  # the worker of the open episode: proves the fence
    SWEEP = "sweep"  # a sweep, a witness, a worker that cannot run the saga: proves the fence it has seen, or that the saga is due
    OPERATOR = "operator"  # a person: proves the status, and the journal row at which the person looked; who and why are journaled


@dataclass(frozen=True, slots=True)
class Move:
    """A line of the table. The status before a start is "none"."""

    maker: Maker
    transitions: frozenset[tuple[str, str]]


def _move(maker: Maker, *transitions: str) -> Move:
    pairs = (transition.split(" -> ") for transition in transitions)
    return Move(maker, frozenset((before, after) for before, after in pairs))


MOVES: dict[str, Move] = {
    "start": _move(Maker.CALLER, "none -> pending"),
    "claim": _move(Maker.HOLDER, "pending -> running", "running -> running", "compensating -> compensating"),
    "begin": _move(Maker.HOLDER, "running -> running"),
    "advance": _move(Maker.HOLDER, "running -> running", "running -> compensating"),
    "complete": _move(Maker.HOLDER, "running -> compensating", "running -> completed"),
    "retry": _move(Maker.HOLDER, "running -> running", "compensating -> compensating"),
    "fail": _move(Maker.HOLDER, "running -> compensating", "running -> rolled_back"),
    "compensated": _move(
        Maker.HOLDER, "compensating -> compensating", "compensating -> rolled_back", "compensating -> failed"
    ),
    "park": _move(Maker.HOLDER, "running -> running", "compensating -> compensating"),
    "yield": _move(Maker.HOLDER, "running -> running", "compensating -> compensating"),
    "cancel": _move(
        Maker.CALLER,
        "pending -> pending",
        "pending -> rolled_back",
        "running -> running",
        "running -> compensating",
        "running -> rolled_back",
    ),
    "take_over": _move(
        Maker.SWEEP,
        "running -> running",
        "running -> compensating",
        "running -> rolled_back",
        "running -> failed",
        "compensating -> compensating",
    ),
    "checkpoint": _move(Maker.HOLDER, "running -> running"),
    "wake": _move(Maker.SWEEP, "running -> running", "compensating -> compensating"),
    "pass_over": _move(Maker.SWEEP, "pending -> pending", "running -> running", "compensating -> compensating"),
    "absent": _move(Maker.HOLDER, "running -> running"),
    "hold": _move(Maker.OPERATOR, "pending -> pending", "running -> running", "compensating -> compensating"),
    "release": _move(Maker.OPERATOR, "pending -> pending", "running -> running", "compensating -> compensating"),
    "retry_undo": _move(Maker.OPERATOR, "compensating -> compensating"),
    "retry_step": _move(Maker.OPERATOR, "running -> running"),
    "retry_passed_over": _move(
        Maker.OPERATOR, "pending -> pending", "running -> running", "compensating -> compensating"
    ),
    "reopen": _move(Maker.OPERATOR, "failed -> running", "failed -> compensating", "failed -> rolled_back"),
    "skip_undo": _move(
        Maker.OPERATOR, "compensating -> compensating", "compensating -> rolled_back", "compensating -> failed"
    ),
    "skip_step": _move(Maker.OPERATOR, "running -> compensating", "running -> rolled_back"),
    "resolve_happened": _move(Maker.OPERATOR, "running -> running", "running -> compensating", "running -> completed"),
    "resolve_absent": _move(Maker.OPERATOR, "running -> running"),
}


def made_by(maker: Maker) -> frozenset[str]:
    """The names of a maker's moves."""
    return frozenset(name for name, move in MOVES.items() if move.maker is maker)
