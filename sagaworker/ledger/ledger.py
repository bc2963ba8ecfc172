"""All moves of callers that hold no saga, in one object. The moves of a saga's holder are those of `Claim` (`claim.py`)."""

from __future__ import annotations

from sagaworker.ledger.cancels import LedgerCancels
from sagaworker.ledger.episodes import LedgerEpisodes
from sagaworker.ledger.starts import LedgerStarts
from sagaworker.ledger.takeovers import LedgerTakeovers


class Ledger(LedgerStarts, LedgerCancels, LedgerEpisodes, LedgerTakeovers):
    """The moves of callers that hold no saga. Each is atomic and leaves exactly one journal row per saga it changed."""
