"""What main knows of the processes that a pool child has started."""

from __future__ import annotations

import os
import subprocess
import sys

from sagaworker.celery.worker.spawned import Spawned


def in_a_child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return pid


def test_a_child_that_started_a_process_is_known_to_main_when_it_is_dead():
    spawned = Spawned()
    spawned.watch()

    def starts():
        with spawned.walking():
            subprocess.run([sys.executable, "-c", ""], check=True)

    def computes():
        with spawned.walking():
            sum(range(1000))

    assert spawned.by(in_a_child(starts))
    assert not spawned.by(in_a_child(computes))


def test_what_was_started_before_the_walk_belongs_to_others_and_a_walk_inside_one_is_part_of_it():
    spawned = Spawned()
    spawned.watch()

    def before():
        subprocess.run([sys.executable, "-c", ""], check=True)
        with spawned.walking():
            pass

    def inside():
        with spawned.walking():
            subprocess.run([sys.executable, "-c", ""], check=True)
            with spawned.walking():
                pass

    assert not spawned.by(in_a_child(before))
    assert spawned.by(in_a_child(inside))


def test_every_process_of_the_machine_has_a_byte_of_its_own():
    spawned = Spawned()
    spawned._flags[7] = 1
    assert [pid for pid in range(20_000) if spawned.by(pid)] == [7]
