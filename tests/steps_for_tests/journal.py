"""The effects journal: what steps did in the world, in a file that outlives any kill."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from pathlib import Path

from sagaworker import SagaState

VARIABLE = "EFFECTS_JOURNAL"


def note(state: SagaState, what: str) -> None:
    """Append one line, durably: a single write in append mode is whole, whoever else writes."""
    line = {
        "saga": state.saga_id,
        "idx": state.step_idx,
        "what": what,
        "attempt": state.attempt,
        "key": state.idempotency_key,
        "fence": state.fence,
        "pid": os.getpid(),
        "at": time.time(),
    }
    fd = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)


def read(path: Path) -> dict[str, list[dict]]:
    """The lines of each saga, in order."""
    effects = defaultdict(list)
    if path.exists():
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            effects[entry["saga"]].append(entry)
    return effects


def breaches(timeline, lines: list[dict]) -> list[str]:
    """What is wrong between the world and the ledger about one finished saga; empty when they agree."""
    found, world = _world(lines)
    left = sorted(idx for idx, is_there in world.items() if is_there)
    wanted = {"completed": list(range(len(timeline.run.step_modules))), "rolled_back": []}.get(timeline.run.status)
    if left != wanted:
        found.append(f"{timeline.run.status}, and the effects of {left} are left")
    for row in timeline.steps:
        entered = [line["attempt"] for line in lines if (line["idx"], line["what"]) == (row.step_idx, "entered")]
        if len(entered) != len(set(entered)):
            found.append(f"step {row.step_idx} was entered twice in one attempt: {entered}")
        if len(entered) > row.attempts:
            found.append(f"step {row.step_idx} was entered {len(entered)} times, {row.attempts} attempts are on record")
    return found


def _world(lines: list[dict]) -> tuple[list[str], dict[int, bool]]:
    """What happened in a wrong order, and whose effects are there at the end."""
    found: list[str] = []
    world: dict[int, bool] = {}
    undone_to = None
    for line in lines:
        idx = line["idx"]
        match line["what"]:
            case "did":
                if undone_to is not None:
                    found.append(f"step {idx} acted after the undo of {undone_to} had begun")
                if not all(world.get(lower) for lower in range(idx)):
                    found.append(f"step {idx} acted before a lower one")
                world[idx] = True
            case "undoing":
                if undone_to is not None and idx > undone_to:
                    found.append(f"undo of {idx} after the undo of {undone_to}")
                undone_to = idx
            case "undid":
                world[idx] = False
    return found, world
