"""The project's pages as the tests read them: blocks of code, tables, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "bench" / "README.md"])

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.py)\n")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block. A Python block whose first line is `# path.py` is that file; at the top it is a program."""

    language: str
    text: str

    @property
    def path(self) -> str | None:
        found = _FILE.match(self.text) if self.language == "python" else None
        return found[1] if found else None

    @property
    def is_program(self) -> bool:
        return self.path is not None and "/" not in self.path


def blocks(page: Path) -> list[Block]:
    return [Block(language, text) for language, text in _BLOCK.findall(page.read_text("utf-8"))]


def programs(page: Path) -> dict[str, str]:
    """Each program of a page and what the page says it prints: the next text block, or nothing."""
    found: dict[str, str] = {}
    waiting = None
    for block in blocks(page):
        if block.is_program:
            waiting = block.path
            found[waiting] = ""
        elif block.language == "text" and waiting is not None:
            found[waiting], waiting = block.text, None
    return found


def write_files(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if block.path is not None:
            (folder / block.path).parent.mkdir(exist_ok=True)
            (folder / block.path).write_text(block.text, "utf-8")


def rows(page: Path, first_column: str, *, after: str = "") -> list[list[str]]:
    """The cells of the first table after this text whose first heading is this one."""
    text = page.read_text("utf-8")
    lines = text[text.index(after) :].splitlines()
    heading = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    table = []
    for line in lines[heading + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def links(page: Path) -> list[str]:
    prose = _BLOCK.sub("", page.read_text("utf-8"))
    return [link for link in _LINK.findall(prose) if "://" not in link]
