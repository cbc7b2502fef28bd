"""Training from SQL: a relation streamed, its spilled frame, and paging by hand.

    python _sql_training.py fit

is one way, in a process of its own that takes orders line by line. ``race`` and
``memory`` let the ways take turns, and ``rows`` makes the lines of the page.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack

import _orders
import _table
from _models import MODELS
from _table import CLASSES

CORES = os.cpu_count()
PAGES = 30
RACERS = ("stream", "arrays", "steps", "fit", "spilled", "paging")
#: The ways that read a query with a condition too: five sixths of the rows.
FILTERED = ("spilled", "paging")
WHERE = "x0 > -1"
#: Files of the tables whose peaks are compared, the second ten times as long.
FEW, MANY = 10, 100


NOTES = """\
**Arrays.** They can be faster than the stream, although they keep both cores busier:
dfml reads smaller batches and makes glibc keep the memory of one for the next, where
the stream alone gets some 150,000 new pages. With blocks of 67 MB, which leave the
cache while they are filled, the rate was 0.74 of the stream's.

**Pages.** A page of a bare scan is cheap: 30 of them read all rows in the time of four
streams. With a condition they take three times as long, as rows before the offset are
tested again for each page.

**What limits `fit`.** Its limit takes for granted that the steps always have a core.
No system gives them one while DuckDB has a thread for each: they wait for their turn,
and when the rows have ended they go on alone, one core idle. So the stream and the
steps at the same time, as two processes that share nothing, need longer too: that is
the line below it. What `fit` has beyond are its blocks, a copy that neither of the two
makes, an eighth of all processor time, and the first block, which takes 0.1 s. How far
it looks ahead makes no difference, and a lower priority for all threads but that of the
steps hardly one.

**Memory.** A block of this table has 105,000 rows, 17 MB, and three or four are there
at a time, for 1 M rows as for 10 M. What grows is DuckDB's own: some 80 MB more for its
stream of 10 M rows than for 1 M, with or without its cache of files and whatever its
allocator's thresholds are; on one thread 40 MB."""


class Way:
    """A way to read a relation, or to train on it."""

    def prepare(self, folder, n_files=None, where=None):
        import duckdb

        self.paths = _table.files(folder)
        if n_files is not None:  # the same files again, if there are not as many
            self.paths = [self.paths[i % len(self.paths)] for i in range(n_files)]
        self.relation = duckdb.connect().read_parquet(self.paths)
        if where is not None:
            self.relation = self.relation.filter(where)
        self.get_ready()

    def get_ready(self):
        """Do what is not timed."""

    def run(self):
        wall, processor = time.perf_counter(), time.process_time()
        answer = self.work() or {}
        return {
            "seconds": time.perf_counter() - wall,
            "processor": time.process_time() - processor,
            **answer,
        }


class Stream(Way):
    """DuckDB's own Arrow stream, looked at by nobody."""

    def work(self):
        for _ in self.relation.to_arrow_reader(98_304):
            pass


def blocks_of(relation):
    """Stream a relation as ``fit`` does, without training."""
    from dfml._relations import join_lazily
    from dfml._streams import open_partitions

    opened = open_partitions("benchmark", join_lazily("benchmark", relation, "label"))
    return opened.partitions.stream(ahead=2)


class Arrays(Way):
    """The stream as the arrays that ``partial_fit`` gets."""

    def work(self):
        for _ in blocks_of(self.relation):
            pass


class Steps(Way):
    """Nothing but the steps, on arrays that are ready."""

    def get_ready(self):
        self.blocks = [loaded.value for _, loaded in blocks_of(self.relation)]

    def work(self):
        model = MODELS["fast"]()
        for block in self.blocks:
            model.partial_fit(block.X, block.y, classes=CLASSES)
        return {"model": digest(model)}


class Fit(Way):
    """``Incremental.fit`` on the relation."""

    model = "fast"

    def work(self):
        import dfml

        model = dfml.Incremental(MODELS[self.model]())
        model.fit(self.relation, y="label", classes=CLASSES)
        waited = sum(row["seconds_waiting"] for row in model.history_)
        return {"model": digest(model), "waiting": waited}


class SpilledFit(Fit):
    """``Incremental.fit`` on the frame of ``read_sql``, for its model."""

    def work(self):
        import dfml

        self.relation, relation = dfml.read_sql(self.relation), self.relation
        try:
            return super().work()
        finally:
            self.relation = relation


class Spilled(Way):
    """``read_sql``, and one pass over the partitions of its frame."""

    def work(self):
        import dask

        import dfml

        frame = dfml.read_sql(self.relation)
        with dask.config.set(scheduler="threads"):
            frame.map_partitions(len, meta=(None, "int64")).compute()


class Paging(Way):
    """A page for each partition, by LIMIT and OFFSET."""

    def get_ready(self):
        ((self.n_rows,),) = self.relation.aggregate("count(*)").fetchall()

    def work(self):
        size = -(-self.n_rows // PAGES)
        for page in range(PAGES):
            self.relation.limit(size, offset=page * size).df()


def digest(model):
    """Name a linear model: equal names are bit-equal models."""
    inner = getattr(model, "estimator_", model)
    content = inner.coef_.tobytes() + inner.intercept_.tobytes()
    return hashlib.sha256(content + repr(inner.t_).encode()).hexdigest()[:16]


CONTESTANTS = {
    "stream": Stream,
    "arrays": Arrays,
    "steps": Steps,
    "fit": Fit,
    "spilled-fit": SpilledFit,
    "spilled": Spilled,
    "paging": Paging,
}


def contestant(name):
    from _processes import Contestant

    return Contestant(name, program="_sql_training.py")


def race(measured, tables, rounds):
    """Let all ways take turns over the table; the first turn is to warm up.

    Parameters
    ----------
    measured : Measured
        Takes the figures, by ``"sql training <name>"``.
    tables : dict
        Folders of Parquet files, by ``"small"`` and ``"table"``.
    rounds : int
        How often each is timed.
    """
    from _processes import undisturbed

    with ExitStack() as stack:
        racers = [
            (name + kind, stack.enter_context(contestant(name)), where)
            for names, kind, where in ((RACERS, "", None), (FILTERED, " where", WHERE))
            for name in names
        ]
        for _, racer, where in racers:
            racer.do("prepare", folder=str(tables["table"]), where=where)
            racer.do("run")
        at_once = [racer for name, racer, _ in racers if name in ("stream", "steps")]
        for _ in range(rounds):
            for name, racer, _ in racers:
                figures = undisturbed(lambda r=racer: r.do("run"))
                measured.keep(f"sql training {name}", figures)
            figures = undisturbed(lambda: together(at_once))
            measured.keep("sql training at once", figures)
    with contestant("spilled-fit") as other:
        other.do("prepare", folder=str(tables["table"]))
        measured.keep("sql training spilled-fit", other.do("run"))


def together(racers):
    """Let ways work at the same time, each in its own process, until all are done."""
    start = time.perf_counter()
    for racer in racers:
        racer.tell("run")
    answers = [racer.hear() for racer in racers]
    return {
        "seconds": time.perf_counter() - start,
        "processor": sum(each["processor"] for each in answers),
    }


def memory(measured, tables, rounds):
    """Peaks on a table and on one ten times as long, in new processes."""
    cases = [(way, n) for way in ("stream", "fit") for n in (FEW, MANY)]
    for _ in range(rounds):
        for way, n_files in cases:
            with contestant(way) as racer:
                racer.do("prepare", folder=str(tables["small"]))
                racer.do("run")
                racer.do("prepare", folder=str(tables["table"]), n_files=n_files)
                figures = racer.watched("run")
                measured.keep(f"sql training memory {way} {n_files}", figures)


def rows(measured):
    """Make the lines of the page: what, demanded, measured, met."""
    from _report import at_least, at_most, times

    def seconds(name, figure="seconds"):
        return measured.of(f"sql training {name}", figure)

    stream, steps = seconds("stream"), seconds("steps")
    shared = (seconds("stream", "processor") + steps) / CORES
    limit = max(stream, steps, shared)
    yield at_least(
        "rate of arrays over DuckDB's own stream", 0.85, stream / seconds("arrays")
    )
    yield at_most(
        "fit(relation) over the largest of stream, steps, both on all cores",
        1.25,
        seconds("fit") / limit,
        f" ({seconds('fit'):.2f} s; {stream:.2f}, {steps:.2f}, {shared:.2f} s)",
    )
    yield (
        "fit(relation) over stream and steps at once, in two processes",
        "",
        times(seconds("fit") / seconds("at once")) + f" ({seconds('at once'):.2f} s)",
        "",
    )
    yield at_most(
        "read_sql and one pass over its stream", 3, seconds("spilled") / stream
    )
    for kind, query in (("", "of a bare scan"), (" where", f"of WHERE {WHERE}")):
        yield at_most(
            f"read_sql and one pass over {PAGES} pages by LIMIT and OFFSET, {query}",
            0.3,
            seconds(f"spilled{kind}") / seconds(f"paging{kind}"),
        )
    yield from memory_rows(seconds)
    names = ("fit", "spilled-fit")
    models = {each["model"] for n in names for each in measured[f"sql training {n}"]}
    same = "yes" if len(models) == 1 else "**no**"
    yield (
        "the model of fit(relation) is that of its spilled frame, bit by bit",
        "",
        "",
        same,
    )


def memory_rows(seconds):
    """Make the lines on memory: of ``fit``, of the stream below it, and the rest."""
    from _report import at_most, times

    n_few, n_many = (f"{n * _table.N_ROWS / 1e6:g} M" for n in (FEW, MANY))
    peaks = {
        way: [seconds(f"memory {way} {n}", "peak") for n in (MANY, FEW)]
        for way in ("fit", "stream")
    }
    peaks["above"] = [a - b for a, b in zip(peaks["fit"], peaks["stream"], strict=True)]
    ratios = {way: many / few for way, (many, few) in peaks.items()}
    texts = {
        way: f" ({many:.0f} and {few:.0f} MB)" for way, (many, few) in peaks.items()
    }
    what = f"peak memory: {n_many} rows over {n_few}"
    yield at_most(f"fit(relation), {what}", 1.1, ratios["fit"], texts["fit"])
    yield (
        f"DuckDB's own stream, {what}",
        "",
        times(ratios["stream"]) + texts["stream"],
        "",
    )
    yield "fit(relation) above that", "", times(ratios["above"]) + texts["above"], ""


if __name__ == "__main__":
    _orders.serve(CONTESTANTS)
