"""All moves of those who hold no saga, in one object. Those of the worker that holds one are a `Claim`'s (`claim.py`)."""

from __future__ import annotations

from sagaworker.ledger.cancels import LedgerCancels
from sagaworker.ledger.episodes import LedgerEpisodes
from sagaworker.ledger.starts import LedgerStarts
from sagaworker.ledger.takeovers import LedgerTakeovers


class Ledger(LedgerStarts, LedgerCancels, LedgerEpisodes, LedgerTakeovers):
    """The ledger's open moves. Each is atomic and leaves exactly one journal row per saga it changed."""
