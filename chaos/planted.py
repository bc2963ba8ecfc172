"""Corruptions planted in the records of the run itself: the judge must notice them before it judges."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from chaos.oracle import Facts, Line, judge

Records = tuple[Facts, Sequence[Line]]
Corruption = Callable[[Facts, Sequence[Line], random.Random], Records]


def caught(seed: int, facts: Mapping[str, Facts], lines: Mapping[str, Sequence[Line]]) -> int:
    """How many of five corruptions, each of a sound saga chosen by the seed, were noticed by their own rule."""
    draw = random.Random(f"{seed}:planted")  # noqa: S311 - a choice, not a secret
    sound = [one for one in sorted(facts) if not judge(one, facts[one], lines[one])]
    return sum(_is_caught(draw, sound, facts, lines, status, rule) for status, rule in _CORRUPTIONS)


def _is_caught(
    draw: random.Random,
    sound: Sequence[str],
    facts: Mapping[str, Facts],
    lines: Mapping[str, Sequence[Line]],
    status: str,
    rule: str,
) -> bool:
    victims = [one for one in sound if facts[one].status == status and (status != "rolled_back" or _undone(lines[one]))]
    if not victims:
        return False
    victim = draw.choice(victims)
    corrupt = _CORRUPTIONS[status, rule]
    forged, world = corrupt(facts[victim], lines[victim], draw)
    accepted = rule == "accepted cancel completed"
    return rule in {breach.rule for breach in judge(victim, forged, world, cancel_accepted=accepted)}


def _undone(lines: Sequence[Line]) -> list[int]:
    """Steps that acted and were undone."""
    did = {line["idx"] for line in lines if line["what"] == "did"}
    return sorted(did & {line["idx"] for line in lines if line["what"] == "undid"})


def _without(lines: Sequence[Line], what: str, idx: int) -> Iterator[Line]:
    return (line for line in lines if (line["what"], line["idx"]) != (what, idx))


def _effect_gone(facts: Facts, lines: Sequence[Line], draw: random.Random) -> Records:
    return facts, list(_without(lines, "did", draw.randrange(facts.step_count)))


def _undo_gone(facts: Facts, lines: Sequence[Line], draw: random.Random) -> Records:
    return facts, list(_without(lines, "undid", draw.choice(_undone(lines))))


def _undo_doubled(facts: Facts, lines: Sequence[Line], draw: random.Random) -> Records:
    undone = draw.choice([event for event in facts.events if event[0] == "step.compensated"])
    return replace(facts, events=[*facts.events, undone]), lines


def _late_write(facts: Facts, lines: Sequence[Line], draw: random.Random) -> Records:
    return replace(facts, events=[*facts.events, ("step.failed", draw.randrange(facts.step_count), 0)]), lines


def _unchanged(facts: Facts, lines: Sequence[Line], _draw: random.Random) -> Records:
    return facts, lines


_CORRUPTIONS: dict[tuple[str, str], Corruption] = {
    ("completed", "effect missing in completed"): _effect_gone,
    ("completed", "late write accepted"): _late_write,
    ("completed", "accepted cancel completed"): _unchanged,
    ("rolled_back", "effect left after rolled_back"): _undo_gone,
    ("rolled_back", "compensated twice on record"): _undo_doubled,
}
