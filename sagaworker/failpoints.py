"""Named points in the real code where a test may kill the process. Without the test switch they do nothing.

SAGAWORKER_FAILPOINTS holds `point=kill` entries separated by commas; `point@2=kill` fires at step 2 only. A point fires
once: SAGAWORKER_FAILPOINTS_FOLDER is where the processes of one test agree on that. Both are refused unless
SAGAWORKER_TESTING is 1.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from sagaworker.errors import InvalidSetting

POINTS = (
    "start.before",
    "start.after",
    "claim.before",
    "claim.after",
    "begin.before",
    "begin.after",
    "execute.before",
    "execute.after",
    "advance.before",
    "advance.after",
    "fail.before",
    "fail.after",
    "compensate.before",
    "compensate.after",
    "compensated.before",
    "compensated.after",
    "yield.before",
    "yield.after",
    "take_over.before",
    "take_over.after",
)


class Failpoints:
    """The points that are set in this process; `hit` is called at each of them."""

    def __init__(self, actions: Mapping[tuple[str, int | None], str], folder: Path | None) -> None:
        self._actions = actions
        self._folder = folder

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Failpoints:
        """Read the variables.

        Raises:
            InvalidSetting: an unknown point or action, or the test switch is off.
        """
        env = os.environ if env is None else env
        text = env.get("SAGAWORKER_FAILPOINTS", "")
        if not text:
            return cls({}, None)
        if env.get("SAGAWORKER_TESTING") != "1":
            raise InvalidSetting("SAGAWORKER_FAILPOINTS must be unset outside tests, got a value", "it kills workers")
        folder = env.get("SAGAWORKER_FAILPOINTS_FOLDER")
        if not folder:
            raise InvalidSetting("SAGAWORKER_FAILPOINTS_FOLDER must name a folder when failpoints are set, got none")
        return cls(dict(_parsed(entry) for entry in text.split(",")), Path(folder))

    def hit(self, point: str, step_idx: int | None = None) -> None:
        """Do what is set for this point, once in all processes that share the folder."""
        if not self._actions:
            return
        for key in ((point, step_idx), (point, None)):
            if key in self._actions and self._is_first(key):
                os.kill(os.getpid(), signal.SIGKILL)

    def _is_first(self, key: tuple[str, int | None]) -> bool:
        assert self._folder is not None
        try:
            (self._folder / f"{key[0]}@{key[1]}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def _parsed(entry: str) -> tuple[tuple[str, int | None], str]:
    place, _, action = entry.strip().partition("=")
    point, _, idx = place.partition("@")
    if point not in POINTS or action != "kill" or (idx and not idx.isdigit()):
        raise InvalidSetting(
            f"SAGAWORKER_FAILPOINTS must hold entries like advance.before@2=kill, got {entry!r}",
            f"points: {', '.join(POINTS)}",
        )
    return (point, int(idx) if idx else None), action
