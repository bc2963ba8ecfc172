from __future__ import annotations

import pytest

from tests.properties.machine import Machine


@pytest.fixture
def machine(database_url):
    """The machine, to be moved by hand."""
    machine = type("Lives", (Machine,), {"database_url": database_url})()
    yield machine
    machine.teardown()
