"""An owner of embedded servers, to be killed: prints one JSON line when they run, stops them when its input ends.

python owner.py FOLDER [UID GID PYTHON]     # as that user, with a Python that user can reach
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sagaworker.embedded import Services


def become(uid: int, gid: int, python: str) -> None:
    """Be an ordinary user from now on. Root's own Python may be closed to them: what it loads late is loaded before."""
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect("postgresql://127.0.0.1:1/none")
    with contextlib.suppress(redis.ConnectionError):
        redis.Redis(port=1, retry=Retry(NoBackoff(), 0)).ping()
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    sys.executable = python


def main(folder: Path) -> None:
    with Services(folder, env={}) as services:
        assert services.postgres is not None
        assert services.valkey is not None
        told = {"env": services.env, "uid": os.getuid(), "pids": [services.postgres.pid, services.valkey.pid]}
        print(json.dumps(told), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[2:]:
        become(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    main(Path(sys.argv[1]))
