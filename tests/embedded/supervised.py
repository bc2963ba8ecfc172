"""A supervisor of two processes, to be killed or interrupted. Prints what they print, each line after its name."""

from __future__ import annotations

import sys
from datetime import timedelta

from sagaworker.embedded import Process, Supervisor

CHILD = """
import os, signal, sys
def bye(*_):
    os.write(1, b"bye\\n")
    sys.exit()
signal.signal(signal.SIGTERM, bye)
os.write(1, b"pid %d\\n" % os.getpid())
while True: signal.pause()
"""


def main() -> None:
    argv = [sys.executable, "-I", "-S", "-c", CHILD]
    children = [Process(name=name, argv=argv, grace=timedelta(seconds=60)) for name in ("first", "second")]

    def show(name: str, line: str) -> None:
        sys.stdout.write(f"{name} {line}\n")  # At one go: two threads show lines.
        sys.stdout.flush()

    Supervisor(children, output=show).run()


if __name__ == "__main__":
    main()
