"""`python -m tests.model`: explore the large configurations, some minutes; prints one line for each."""

from __future__ import annotations

import sys
import time

from tests.model.configurations import LARGE, SMALL
from tests.model.explore import explore


def main() -> int:
    total, has_breach = 0, False
    for name, config in {**SMALL, **LARGE}.items():
        begun_at = time.monotonic()
        explored = explore(config)
        total += explored.states
        has_breach = has_breach or explored.breach != ""
        seconds = time.monotonic() - begun_at
        print(f"{explored.states:>9,} states {seconds:6.1f} s  {name}: {explored.breach or 'sound'}", flush=True)
        if explored.breach:
            print("\n".join(f"    {action}" for action in explored.path))
    print(f"{total:>9,} states")
    return int(has_breach)


if __name__ == "__main__":
    sys.exit(main())
