from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder below /tmp that everybody may enter: as root the servers run as nobody."""
    made = Path(tempfile.mkdtemp(prefix="sagaworker-page-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)
