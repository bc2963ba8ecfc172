"""How the bench talks to a peer: one JSON request a line on standard input, one JSON answer a line on standard output.

The peers run in a separate environment without this project's dependencies, so this module imports only the
standard library.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

Answer = dict[str, float | str]


def serve(hello: Answer, run: Callable[[int, int], Answer]) -> None:
    """Say `hello`, then answer each `{"sagas": n, "steps": k}` with the result of `run(n, k)`, until input ends.

    Standard output is kept for the answers: all other output goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(hello), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(run(request["sagas"], request["steps"])), file=answers)
