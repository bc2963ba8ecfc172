"""A supervisor of two processes, each with a child of its own, to be killed or interrupted. Prints what they print."""

from __future__ import annotations

import sys
from datetime import timedelta

from sagaworker.embedded import Process, Supervisor

_CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("bye")))
os.fork()
print("pid", os.getpid(), flush=True)
while True: signal.pause()
"""


def main() -> None:
    # The fork dies with its group only: what a supervisor that is killed cannot reach is named in `bare`.
    bare = _CHILD.replace("os.fork()\n", "")
    text = bare if sys.argv[1:] == ["bare"] else _CHILD
    argv = [sys.executable, "-I", "-S", "-c", text]
    children = [Process(name=name, argv=argv, grace=timedelta(seconds=5)) for name in ("first", "second")]
    Supervisor(children, output=lambda name, line: print(name, line, flush=True)).run()  # noqa: T201 - to the test


if __name__ == "__main__":
    main()
