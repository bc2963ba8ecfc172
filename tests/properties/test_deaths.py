"""A worker may die after any statement it sends: the next one finishes the saga, and the world agrees."""

import pytest

from sagaworker.ledger.line import Line
from tests.properties.machine import S
from tests.properties.world import Died

# Steps, and what each execute and undo comes to.
WALKS = {
    "forward": (["Plain", "Plain", "Plain"], {}),
    "backward": (["Plain", "Tombstoned", "Plain"], {2: "decline"}),
    "doubted": (["Plain", "Careful"], {1: "raise"}),
    "retried": (["Patient", "Plain"], {0: "raise early"}),
    "stopped": (["Plain", "Plain"], {0: "stop"}),
}


class Mortal:
    """Lets the statements of one walk through, then none: the process died when the answer of the last one came."""

    def __init__(self, monkeypatch) -> None:
        self.left = -1
        for name in ("one", "locked", "rows"):
            monkeypatch.setattr(Line, name, self.counted(getattr(Line, name)))

    def counted(self, send):
        def sent(line, name, parameters):
            found = send(line, name, parameters)
            self.left -= 1
            if self.left == 0:
                raise Died
            return found

        return sent


@pytest.mark.parametrize("walk", WALKS)
def test_a_worker_may_die_after_any_statement(machine, monkeypatch, walk):
    names, comes_to = WALKS[walk]
    mortal = Mortal(monkeypatch)
    puppet = machine.puppets[0]
    deaths = 0
    while True:
        machine.sagas.clear()
        machine.begin([S + name for name in names], "restart")
        mortal.left = deaths + 1
        puppet.deliver(machine.bells.pop())
        while not puppet.is_idle:
            what, idx, attempt, _ = puppet.inside
            puppet.tell(comes_to.get(idx, "ok") if (what, attempt) == ("execute", 1) else "ok")
        has_died = mortal.left <= 0
        mortal.left = -1
        machine.the_ledger_is_sound()
        machine.all_end()
        if not has_died:
            break
        deaths += 1
    assert deaths >= 4, "it must have died at several places"
