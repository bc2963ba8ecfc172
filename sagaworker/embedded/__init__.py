"""PostgreSQL and Valkey from wheels, and a supervisor: for `sagaworker up`, the demo, development and tests. Linux.

No server outlives the process that started it, and nothing of the user's is changed.
"""

from sagaworker.embedded.folder import FolderInUse
from sagaworker.embedded.postgres import EmbeddedPostgres
from sagaworker.embedded.process import ServerFailed
from sagaworker.embedded.services import Services
from sagaworker.embedded.supervisor import Process, Supervisor, coloured_output
from sagaworker.embedded.valkey import EmbeddedValkey

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedValkey",
    "FolderInUse",
    "Process",
    "ServerFailed",
    "Services",
    "Supervisor",
    "coloured_output",
]
