"""The page of the training benchmark, made of what was measured."""

from __future__ import annotations

from _models import SLOWER
from _table import N_FILES, N_ROWS

CORES = 2
READERS = ("pyarrow", "pandas", "DuckDB")


class Figures:
    """What the table compares, from the medians of the run."""

    def __init__(self, measured):
        self.measured = measured
        self.S = measured.seconds("S")
        self.reader = min(READERS, key=lambda r: measured.seconds(f"L {r}"))
        self.L = measured.seconds(f"L {self.reader}")
        self.S_beside = measured.of("both", "S")
        self.L_beside = measured.of("both", "L")
        self.limit = max(self.S, (self.S + self.L) / CORES)
        self.limit_beside = max(self.S_beside, (self.S_beside + self.L_beside) / CORES)

    def ratio(self, a, b):
        return self.measured.seconds(a) / self.measured.seconds(b)

    def peak(self, name):
        return self.measured.of(name, "peak")


def rows(figures):
    """Make the lines of the table: what, demanded, measured, met."""
    f, m = figures, figures.measured
    threads, cluster = m.seconds("dfml-threads"), m.seconds("dfml-cluster")
    yield at_most("wall, threads, over max(S, (S + L) / 2)", 1.25, threads / f.limit)
    yield (
        "the same, S and L timed side by side",
        "",
        times(threads / f.limit_beside),
        "",
    )
    yield at_least(
        "loop by hand over dfml, threads", 1.5, f.ratio("loop", "dfml-threads")
    )
    for place in ("threads", "cluster"):
        yield at_least(
            f"dask-ml over dfml, {place}",
            1.15,
            f.ratio(f"dask-ml-{place}", f"dfml-{place}"),
        )
    yield ("dfml, cluster over threads", "", times(cluster / threads), "")
    yield from slow_rows(f)
    yield from tiny_rows(f)
    for name in ("GaussianNB", "StandardScaler"):
        yield at_least(
            f"{name}, persisted, 2 workers: chain over merged",
            1.6,
            f.ratio(f"{name} chain", f"{name} merged"),
        )


def slow_rows(f):
    m = f.measured
    steps = m.seconds("slow steps")
    first = f.L / N_FILES
    for place, demanded in (("threads", 0.5), ("cluster", 0.3)):
        ours, theirs = (f.peak(f"slow {name}-{place}") for name in ("dfml", "dask-ml"))
        yield at_most(
            f"slow model, {place}: peak memory over dask-ml's",
            demanded,
            ours / theirs,
            f" ({ours:.0f} and {theirs:.0f} MB)",
        )
    for place in ("threads", "cluster"):
        short, long = f.peak(f"slow dfml-{place}"), f.peak(f"long dfml-{place}")
        yield at_most(
            f"slow model, {place}: peak, table ten times longer",
            1.1,
            long / short,
            f" ({short:.0f} and {long:.0f} MB)",
        )
    for place in ("threads", "cluster"):
        yield at_most(
            f"slow model, {place}: wall over steps and first load",
            1.08,
            m.seconds(f"slow dfml-{place}") / (steps + first),
        )


def tiny_rows(f):
    m = f.measured
    each = m.seconds("tiny 10000") / 10
    yield (
        "10,000 partitions of ten rows, threads: each",
        "<= 1.5 ms",
        f"{each:.2f} ms",
        met(each <= 1.5),
    )
    peak, fewer = m.of("tiny 10000", "peak"), m.of("tiny 1000", "peak")
    yield (
        "the same: memory above the base",
        "flat",
        f"{peak:.0f} MB (1,000 partitions: {fewer:.0f} MB)",
        met(peak <= 100),
    )


def times(ratio):
    return f"{ratio:.2f}"


def met(true):
    return "yes" if true else "**no**"


def at_most(what, demanded, ratio, text=""):
    return what, f"<= {demanded}", times(ratio) + text, met(ratio <= demanded)


def at_least(what, demanded, ratio, text=""):
    return what, f">= {demanded}", times(ratio) + text, met(ratio >= demanded)


def table(head, lines):
    marks = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, marks, *lines])


def seconds_table(f):
    m = f.measured
    names = {
        "S: all steps on ready arrays": "S",
        **{f"L: all loads, one thread, {r}": f"L {r}" for r in READERS},
        "loop by hand (pandas)": "loop",
        "dfml, threads": "dfml-threads",
        "dask-ml, threads": "dask-ml-threads",
        "dfml, LocalCluster 2 x 1": "dfml-cluster",
        "dask-ml, LocalCluster 2 x 1": "dask-ml-cluster",
        "S, rows not shuffled": "S in order",
    }
    lines = [(what, *spread(m, name, "seconds")) for what, name in names.items()]
    beside = {
        "S beside L in another process": ("both", "S"),
        "L beside S in another process": ("both", "L"),
        "S, rows not shuffled, beside L": ("both in order", "S"),
    }
    lines += [(what, *spread(m, *which)) for what, which in beside.items()]
    return table(("seconds", "median", "from", "to"), lines)


def spread(measured, name, figure):
    values = sorted(figures[figure] for figures in measured[name])
    middle = measured.of(name, figure)
    return tuple(f"{value:.2f}" for value in (middle, values[0], values[-1]))


def profile(f):
    m = f.measured
    wall, beside = m.seconds("dfml-threads"), f.S_beside
    steps, waiting = (m.of("dfml-threads", n) for n in ("training", "waiting"))
    loads, far_loads = (m.of(f"dfml-{n}", "loading") for n in ("threads", "cluster"))
    plain, plain_beside = m.seconds("S in order"), m.of("both in order", "S")
    return f"""\
**Threads.** A fit of {wall:.2f} s is {steps:.2f} s of steps one after another and
{waiting:.2f} s of waiting for loads, the first one among them; the driver's own work is
around 0.01 s (cProfile). Steps on ready arrays take {f.S:.2f} s alone, {beside:.2f} s
while another process loads; with `shuffle=False`, {plain:.2f} and {plain_beside:.2f} s.
`SGDClassifier` visits the rows of a partition in shuffled order, over 16 MB that stay
in the shared cache as long as nobody else streams through it: where steps and loads
share a cache the limit is {f.limit_beside:.2f} s. Two threads load and a third one
trains, on two cores; dask-ml does both on two.

**LocalCluster.** Rows stay on the worker that has loaded them and the model moves: from
the end of a step to the start of the next on the other worker pass about 5 ms (task
stream), which that worker spends loading. Loads take {far_loads:.2f} s where they run,
against {loads:.2f} s on threads: the scheduler and the client need 0.36 s of the same
two cores (resource usage), and the event loops of the workers some more. And nannies
start workers with `MALLOC_TRIM_THRESHOLD_=65536`, so what scikit-learn allocates in a
step goes back to the system and comes in again page by page, around 1,100 page faults a
partition. dask-ml pays the same. With steps that take longer than a load none of this
shows: see the slow model.

**Memory on the cluster.** What a table ten times longer takes more is what dask keeps
of its last 1,000 messages and transitions, in the scheduler and in each worker. Then it
is full: in four fits of 400 partitions one after another the process of the scheduler
had 223, 238, 238 and 238 thousand objects.

**Small partitions.** The model of that row counts and does nothing else, so that what
is left is dask's lowering and loads, the arrays, two hand-overs between threads and the
bookkeeping of a step. A step of `SGDClassifier` on ten rows takes another 1.0 ms."""


def page(measured, versions):
    f = Figures(measured)
    lines = [(*row[:2], row[2], row[3]) for row in rows(f)]
    one = {"dfml-threads", "dfml-cluster", "dask-ml-threads", "dask-ml-cluster", "loop"}
    models = {figures["model"] for name in one for figures in measured[name]}
    equal = "All of these fits gave the same model, bit for bit."
    if len(models) > 1:
        equal = "**The fits of this table did not all give the same model.**"
    return f"""\
# Speed and memory of training

Written by `make bench` (`benchmarks/training.py`), everything in one run: contestants
take turns and each figure is the median of its rounds. {N_FILES} Parquet files of
{N_ROWS:,} rows, 20 float64 features and a label, read from the page cache;
`SGDClassifier`, `classes=` given; the slow model sleeps {SLOWER} s more a step.
Threads are dask's, the cluster is a `LocalCluster` of two workers with one thread each.
Only `fit` is timed, after a warm-up; dask-ml runs in its own environment on the same
files. Memory is the resident memory of the process and its children above what it was
before `fit`, in new processes, sampled.

{measured.conditions(versions)}

{table(("what", "demanded", "measured", "met"), lines)}

## Seconds

L is the load alone, by the fastest of the three ({f.reader}); making the arrays is not
part of it.

{seconds_table(f)}

{equal}

## What limits it where a figure is missed

{profile(f)}
"""
