"""A process that rings, forks a child which may ring too, and rings again: `python -m tests.brokers.forking URL PORT RINGS`.

Prints whether its connection to the broker is still the one it opened first. A process of its own: what a test's process has open
besides would be closed in the child by kombu, over sockets that both use.
"""

import sys

import psutil
from billiard import get_context

from sagaworker.domain.records import Doorbell
from sagaworker.doorbell.publisher import Doorbells
from sagaworker.settings import Settings

BELL = Doorbell(saga_id="01a00000-0000-7000-8000-000000000000", kind="k")


def connections_to(port):
    """The local ports of this process' open connections to that port."""
    found = psutil.Process().net_connections("tcp4")
    return {one.laddr.port for one in found if one.raddr and one.raddr.port == port and one.status == "ESTABLISHED"}


def main(url, port, rings):
    doorbells = Doorbells.from_settings(Settings(broker_url=url))
    doorbells.ring([BELL])
    before = connections_to(port)
    assert len(before) == 1, before
    child = get_context("fork").Process(target=doorbells.ring, args=([BELL] if rings else [],))
    child.start()
    child.join(60)
    assert child.exitcode == 0, child.exitcode
    doorbells.ring([BELL])
    print("the same" if connections_to(port) == before else "another")
    doorbells.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True")
