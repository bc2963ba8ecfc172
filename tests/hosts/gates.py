"""Gates: a step or task of a shop says that it is inside and waits until the test lets it go on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import wait_until

VARIABLE = "SHOP_GATES"  # the folder


@dataclass(frozen=True)
class Gate:
    """Two files: `entered` is made by who comes to the gate, `opened` by who lets it pass."""

    folder: Path
    name: str

    def opens(self) -> None:
        (self.folder / f"{self.name}.opened").touch()

    def was_reached(self) -> bool:
        return (self.folder / f"{self.name}.entered").exists()

    def reached(self, timeout: float = 20) -> None:
        wait_until(self.was_reached, timeout=timeout, what=f"somebody at the gate {self.name}")

    def passed(self) -> None:
        """Of who comes to it: wait until it is opened."""
        (self.folder / f"{self.name}.entered").touch()
        wait_until((self.folder / f"{self.name}.opened").exists, timeout=60, what=f"the gate {self.name} open")


def gate(name: str) -> Gate:
    """The gate of this name in a shop's own process."""
    return Gate(Path(os.environ[VARIABLE]), name)
