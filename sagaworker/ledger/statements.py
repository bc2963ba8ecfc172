"""The statement files: one move or read each, in a folder of `sql/` that is named after its capability."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

AUDIT = "audit"  # questions, and no statement of a move: `ledger/audit.py` reads them


@cache
def statement_files() -> dict[str, Traversable]:
    """Each file by its name, which is one file's only: `{"advance": sql/episodes/advance.sql, ...}`."""
    found: dict[str, Traversable] = {}
    for folder in files("sagaworker.ledger").joinpath("sql").iterdir():
        if folder.name == AUDIT or not folder.is_dir():
            continue
        for file in folder.iterdir():
            name = file.name.removesuffix(".sql")
            assert name not in found, f"two files are named {file.name}"
            found[name] = file
    return found
