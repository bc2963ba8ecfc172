"""Become another program that ends when the parent does. Run as a script: it is the first moment of every child.

    python -I -S launch.py PARENT_PID DEATH_SIGNAL UID:GID PROGRAM [ARGUMENT...]
    python -I -S launch.py PARENT_PID DEATH_SIGNAL UID:GID --reach PATH...

UID:GID is `-` to keep our own account. With --reach nothing is started: exit 0 if that account can enter every folder
and execute every file named. Exit 126 when we could not switch to the account or not execute the program.

A separate process rather than subprocess's preexec_fn: Python code between fork and exec can deadlock in a process that
has threads (Python 3.12 warns of this), and the account may not be able to read the interpreter. The script imports only
the standard library, so it starts in 15 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
NOT_EXECUTED = 126


def _main(parent: int, death_signal: int, account: str, program: list[str]) -> None:
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if program[0] == "--reach":
        sys.exit(any(not os.access(path, os.X_OK) for path in program[1:]))
    if sys.platform == "linux":
        # After setuid, which clears this setting; execve keeps it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit(NOT_EXECUTED)  # The parent died before prctl: no signal will come.
    # Python ignores these signals; the program must start with the defaults.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(program[0], program)  # noqa: S606 - the program comes from this package


if __name__ == "__main__":
    try:
        _main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    except OSError as problem:
        sys.stderr.write(f"{sys.argv[4]} must be executable by account {sys.argv[3]}, got {problem}\n")
        sys.exit(NOT_EXECUTED)
