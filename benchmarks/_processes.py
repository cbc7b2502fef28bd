"""Contestants in their processes: their time, their memory, and who else was busy."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import psutil

PROGRAMS = Path(__file__).parent

#: A measurement is repeated when other programs had more than this share of a core.
DISTURBED = 0.15
ATTEMPTS = 3


class Patience:
    """Seconds that a run may spend on waiting for others, and on repeating."""

    left = 420.0


class Measured(defaultdict):
    """Figures by name, one list each; ``seconds("loop")`` is their median."""

    def __init__(self):
        super().__init__(list)

    def keep(self, name, figures):
        self[name].append(figures)
        print(name, json.dumps({k: figures[k] for k in figures if k != "model"}))
        sys.stdout.flush()

    def of(self, name, figure):
        return median(figures[figure] for figures in self[name])

    def seconds(self, name):
        return self.of(name, "seconds")

    def conditions(self, versions):
        """Say on what machine this was, how busy it was, and with which packages."""
        shares = [
            figures["others"]
            for group in self.values()
            for figures in group
            if "others" in figures
        ]
        n_disturbed = sum(share > DISTURBED for share in shares)
        packages = ", ".join(f"{name} {number}" for name, number in versions.items())
        return (
            f"{os.cpu_count()} cores of a virtual machine. A measurement during which "
            f"other programs\nhad more than {DISTURBED} of a core is repeated; "
            f"{n_disturbed} of {len(shares)} stayed disturbed.\n"
            f"Python {platform.python_version()}; {packages}."
        )


class Contestant:
    """A process that takes orders; ``tell`` and ``hear`` let two work at once."""

    def __init__(self, name, python=sys.executable, program="_contestants.py"):
        self.name = name
        self.process = subprocess.Popen(
            [python, "-W", "ignore", str(PROGRAMS / program), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def tell(self, do, **arguments):
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} has ended; its error stands above.")
        return json.loads(line)

    def do(self, do, **arguments):
        self.tell(do, **arguments)
        return self.hear()

    def watched(self, do, **arguments):
        """Do it, and add the peak memory above what there was before, in MB."""
        with Memory(self.process.pid) as memory:
            answer = self.do(do, **arguments)
        return {**answer, "peak": memory.growth}


def undisturbed(measure):
    """Measure until nobody else is busy; the least disturbed answer if that fails.

    Parameters
    ----------
    measure : callable
        Returns a dict of figures; all contestants are children of this process.

    Returns
    -------
    figures : dict
        With ``others``, the share of a core that other programs had.
    """
    best = None
    for attempt in range(ATTEMPTS):
        _wait_for_quiet()
        start, busy, own = time.perf_counter(), _busy(), _own()
        figures = measure()
        seconds = time.perf_counter() - start
        others = (_busy() - busy - (_own() - own)) / seconds
        if best is None or others < best["others"]:
            best = {**figures, "others": round(others, 2)}
        Patience.left -= seconds if attempt else 0.0
        if others <= DISTURBED or Patience.left <= 0:
            break
    return best


def _wait_for_quiet():
    """Wait until the machine is idle, for ten seconds at most."""
    start = time.monotonic()
    end = start + min(10.0, Patience.left)
    while time.monotonic() < end:
        if psutil.cpu_percent(0.3) * psutil.cpu_count() / 100 < DISTURBED:
            break
    Patience.left -= time.monotonic() - start


def _busy():
    """Seconds of all cores that any program had since the start of the machine."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - getattr(times, "guest", 0)


def _own():
    """Seconds that this process and its descendants had."""
    this = psutil.Process()
    total = 0.0
    for process in [this, *this.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])
    return total


class Memory:
    """Samples the resident memory of a process and all its children."""

    def __init__(self, pid, seconds=0.01):
        self._root = psutil.Process(pid)
        self._seconds = seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self):
        self._list()
        self.base = self.peak = self._now()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    @property
    def growth(self):
        return (self.peak - self.base) / 1e6

    def _list(self):
        self._tree = [self._root, *self._root.children(recursive=True)]
        self._listed = time.monotonic()

    def _now(self):
        total = 0
        for process in self._tree:
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def _sample(self):
        while not self._done.wait(self._seconds):
            if time.monotonic() - self._listed > 0.3:
                self._list()
            self.peak = max(self.peak, self._now())
