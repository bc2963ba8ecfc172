"""The picture of docs/architecture.md, drawn from the code: its imports, its floors and its moves.

`python -m tests.docs.picture` draws it anew; a test compares.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict

from sagaworker.domain.moves import MOVES
from tests.docs.pages import ROOT

ARCHITECTURE = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)
CODE = ROOT / "sagaworker"


def floors() -> list[list[str]]:
    """The rooms by floor, top down, as the import contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [layer.split(" | ") for layer in layers]


def room_of(module: str) -> str | None:
    """`sagaworker.ledger.claim` stands in `ledger`; None for what is not ours, and for the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "sagaworker" and len(parts) > 1 else None


def imports() -> dict[str, set[str]]:
    """What each room imports of other rooms, read from the code."""
    rooms = {room for floor in floors() for room in floor}
    found: dict[str, set[str]] = defaultdict(set)
    for file in CODE.rglob("*.py"):
        room = file.relative_to(CODE).parts[0].removesuffix(".py")
        if room not in rooms:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.ImportFrom(module="sagaworker", names=names):
                    modules = [f"sagaworker.{name.name}" for name in names]
                case ast.ImportFrom(module=str(module), level=0):
                    modules = [module]
                case ast.Import(names=names):
                    modules = [name.name for name in names]
                case _:
                    continue
            found[room] |= {other for module in modules if (other := room_of(module)) in rooms and other != room}
    return found


def arrows() -> list[tuple[str, str]]:
    """The imports that a picture needs: an arrow that two others imply is left out."""
    direct = imports()

    def below(room: str) -> set[str]:
        return {other for one in direct[room] for other in ({one} | below(one))}

    return [
        (room, other)
        for floor in floors()
        for room in floor
        for other in sorted(direct[room])
        if not any(other in below(between) for between in direct[room] - {other})
    ]


def drawn() -> str:
    """The picture as mermaid text."""
    lines = [
        "flowchart TB",
        '  subgraph rooms ["rooms and what they import; an arrow that two others imply is left out"]',
    ]
    lines += [f"    {' ~~~ '.join(floor)}" for floor in floors()]
    lines += [f"    {room} --> {other}" for room, other in arrows()]
    lines += ["  end", '  subgraph life ["the life of a saga: every move that changes or keeps its status"]']
    lines += ["    direction TB", "    none([nothing])"]
    between: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, move in MOVES.items():
        for before, after in sorted(move.transitions):
            between[before, after].append(name)
    lines += [f'    {before} -->|"{" · ".join(names)}"| {after}' for (before, after), names in between.items()]
    lines += ["  end", '  ledger -. "one .sql file a move" .-> life']
    return "\n".join(lines) + "\n"


def redraw() -> None:
    """Write the picture into the page."""
    page = ARCHITECTURE.read_text("utf-8")
    ARCHITECTURE.write_text(BLOCK.sub(lambda _: drawn(), page, count=1), "utf-8")


if __name__ == "__main__":
    redraw()
