from __future__ import annotations

import threading
import time

import pytest

from dfml._waiting import map_waiting


def test_calls_that_wait_run_at_a_time_and_keep_their_order():
    met = threading.Barrier(4, timeout=30)

    def wait(number):
        if number >= 40:
            met.wait()
        time.sleep(0.01)
        return number, threading.current_thread()

    answers = list(map_waiting(wait, range(80)))

    assert [number for number, _ in answers] == list(range(80))
    assert answers[0][1] is threading.current_thread()
    assert len({thread for _, thread in answers}) > 2


def test_no_items():
    assert list(map_waiting(str, [])) == []


def test_results_come_before_a_later_error():
    def fail(number):
        if number == 3:
            raise OSError("broken")
        return number

    results = map_waiting(fail, range(5))

    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="broken"):
        next(results)
