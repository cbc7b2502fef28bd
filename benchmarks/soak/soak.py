"""Faults in great number: killed workers, killed drivers, failing steps, Ctrl-C.

    python benchmarks/soak/soak.py [kills] [retries] [drivers] [interrupts]

Prints one line for each fault and the figures at the end; exits 1 if one is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import _jobs
import dask
import dask.dataframe as dd
import numpy as np
from _jobs import CLASSES, FailsOnce, Slow, same

import dfml

DRIVER = Path(__file__).with_name("_driver.py")
#: Seconds of steps between two checkpoints, and steps that may run before one that is
#: due is noticed: a quarter of a second of them is submitted ahead, and two more.
CHECKPOINT_SECONDS = 2.0
BEHIND = int(0.25 / _jobs.SECONDS) + 2
MOST_REPEATED = int(CHECKPOINT_SECONDS / _jobs.SECONDS) + BEHIND


def serial(table, n_partitions=_jobs.N_PARTITIONS):
    """Train without any scheduler, as far as told."""
    import pandas as pd

    model = Slow(random_state=0)
    paths = sorted(table.glob("*.parquet"))[:n_partitions]
    for frame in map(pd.read_parquet, paths):
        X = frame.drop(columns="label")
        SlowParent.partial_fit(model, X, frame["label"], CLASSES)
    return model


SlowParent = Slow.__mro__[1]


@contextlib.contextmanager
def cluster():
    from distributed import Client, LocalCluster

    with (
        # LocalCluster drops a worker that is away some time after it was lost before.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as local,
        Client(local) as client,
    ):
        yield client


def both_are_back(client):
    """Wait for the workers; a nanny gives up a worker that dies while it starts."""
    try:
        client.wait_for_workers(2, timeout=60)
    except TimeoutError:
        print("a worker did not come back: another cluster", flush=True)
        return False
    return True


def kill_one(client, frame, seed, log):
    """Train while a worker is killed; give the model and the steps repeated."""
    log.write_text("")
    generator = np.random.default_rng(seed)
    pids = sorted(client.run(os.getpid).values())
    wait = generator.uniform(0.3, _jobs.N_PARTITIONS * _jobs.SECONDS)
    pid = int(generator.choice(pids))
    timer = threading.Timer(wait, os.kill, (pid, signal.SIGKILL))
    timer.start()
    clf = dfml.Incremental(Slow(random_state=0))
    clf.fit(frame, "label", classes=CLASSES)
    timer.cancel()
    timer.join()
    steps = [line.split()[2] for line in log.read_text().splitlines()]
    repeated = len(steps) - len(set(steps))
    print(f"kill {seed}: after {wait:.1f} s, repeated {repeated} steps", flush=True)
    return clf.estimator_, repeated


def kills(table, folder, times=50):
    """Kill a worker at a seeded time, ``times`` times."""
    log = folder / "steps.log"
    os.environ["SOAK_LOG"] = str(log)  # the workers inherit it
    expected = serial_without_log(table)
    equal, repeated = 0, []
    frame = dd.read_parquet(table)
    while len(repeated) < times:
        with cluster() as client:
            while len(repeated) < times and both_are_back(client):
                model, again = kill_one(client, frame, len(repeated), log)
                equal += same(model, expected)
                repeated.append(again)
    del os.environ["SOAK_LOG"]
    print(f"repeated steps, sorted: {sorted(repeated)}")
    return [
        (f"{times} worker kills, bit-equal", equal == times, f"{equal} of {times}"),
        (
            f"steps repeated at most {MOST_REPEATED}",
            max(repeated) <= MOST_REPEATED,
            f"at most {max(repeated)} of {_jobs.N_PARTITIONS}, "
            f"median {int(np.median(repeated))}",
        ),
    ]


def serial_without_log(table, n_partitions=_jobs.N_PARTITIONS):
    log = os.environ.pop("SOAK_LOG", None)
    try:
        return serial(table, n_partitions)
    finally:
        if log:
            os.environ["SOAK_LOG"] = log


def retries(table, folder):
    """Let steps fail after their update, under a scheduler told to retry."""
    rows = _jobs.N_PARTITIONS * _jobs.N_ROWS
    failed, found = 0, None
    frame = dd.read_parquet(table)
    marks = folder / "marks"
    marks.mkdir()
    with cluster(), dask.annotate(retries=2), dask.config.set(retries=2):
        for _ in range(20):
            clf = dfml.Incremental(FailsOnce(str(marks)))
            try:
                clf.fit(frame, "label", classes=CLASSES)
            except OSError:
                failed += 1
                assert not hasattr(clf, "estimator_")
            else:
                found = clf.estimator_.rows_
                break
    markers = len(list(marks.iterdir()))
    text = f"{found} of {rows} rows, {markers} failures, {failed} fits that raised"
    return [("failing steps, exact rows", found == rows, text)]


def run_driver(*arguments):
    process = subprocess.Popen(
        [sys.executable, str(DRIVER), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()  # the fit begins now
    return process


def drivers(table, folder, times=20):
    """Kill the whole process at a random time, then run it again."""
    expected = serial(table)
    equal = resumed = 0
    for seed in range(times):
        wait = np.random.default_rng(seed).uniform(0.2, 6.0)
        result, kept = folder / f"result-{seed}", folder / f"kept-{seed}"
        process = run_driver(table, result, kept)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        start = time.monotonic()
        run_driver(table, result, kept).wait()
        seconds = time.monotonic() - start
        told = pickle.loads(result.read_bytes())
        equal += same(told["model"], expected)
        resumed += seconds < _jobs.N_PARTITIONS * _jobs.SECONDS
        print(f"driver {seed}: killed after {wait:.1f} s, then {seconds:.1f} s")
    text = f"{equal} of {times}; {resumed} went on from a checkpoint"
    return [(f"{times} drivers killed, resumed bit-equal", equal == times, text)]


def interrupts(table, folder, times=10):
    """Press Ctrl-C at a random time."""
    good, slowest = 0, 0.0
    for seed in range(times):
        wait = np.random.default_rng(100 + seed).uniform(0.5, 5.5)
        result = folder / f"interrupted-{seed}"
        process = run_driver(table, result)
        time.sleep(wait)
        sent = time.time()
        process.send_signal(signal.SIGINT)
        process.wait()
        told = pickle.loads(result.read_bytes())
        back = told["interrupted"] - sent
        slowest = max(slowest, back)
        whole = same(told["model"], serial(table, told["seen"]))
        said = any(f"{told['seen']} of" in note for note in told["notes"])
        good += whole and said and bool(told["answers"])
        print(f"Ctrl-C {seed}: back in {back:.2f} s, {told['notes'][-1]}")
    limit = _jobs.SECONDS + 1
    return [
        (f"{times} Ctrl-C: a usable model, and how far", good == times, f"{good}"),
        (f"back within {limit:.1f} s", slowest <= limit, f"{slowest:.2f} s at most"),
    ]


SOAKS = {f.__name__: f for f in (kills, retries, drivers, interrupts)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="*", help=", ".join(SOAKS))
    which = parser.parse_args().which or SOAKS
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = _jobs.write_table(folder / "table")
        for soak in which:
            start = time.monotonic()
            lines += SOAKS[soak](table, folder)
            print(f"{soak}: {time.monotonic() - start:.0f} s")
    for what, met, figure in lines:
        print(f"{'yes' if met else 'NO ':4}{what}: {figure}")
    sys.exit(not all(met for _, met, _ in lines))


if __name__ == "__main__":
    main()
