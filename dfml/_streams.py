"""A relation that runs once and is read as it comes, in blocks of equal length.

A thread of its own reads DuckDB's stream and fills blocks, as many ahead as were asked
for and no more; where more than one pass is needed it writes the rows down meanwhile.
Blocks have as many rows as the partitions of ``read_sql`` would have.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from dask.base import get_scheduler
from dask.system import CPU_COUNT
from sklearn import get_config

from dfml._loaders import Loaded, Task, Turn, count_workers, is_cluster
from dfml._partitions import Partitions, in_window
from dfml._relations import RelationTable
from dfml.arrays._arrow_blocks import make_block_maker
from dfml.arrays._blocks import Block
from dfml.arrays._parquet_blocks import BlockReads
from dfml.arrays._reused_arrays import ReusedArrays
from dfml.sources._facts import describe_query
from dfml.sources._lazy_frame import Sizes, default_rows
from dfml.sources._query import connection_of, database_errors
from dfml.sources._spill import measure_rows, write_spill
from dfml.sources._spill_plan import frame_of
from dfml.sources._stream import open_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import pyarrow as pa

    from dfml._frames import Table
    from dfml.arrays._arrow_blocks import BlockMaker
    from dfml.arrays._packer import Packer
    from dfml.sources._spill import Spill

__all__ = ["Opened", "StreamedPartitions", "open_partitions"]

_log = logging.getLogger("dfml")

#: What is copied from DuckDB's memory into a block at a time. Of batches that stay in
#: the cache of a processor, arrays take a quarter less of its time than of four times
#: larger ones.
BATCH_BYTES = 4 * 2**20


class StreamedPartitions:
    """The blocks of a relation, where a frame has partitions.

    The query runs when loading begins, once. If there are more passes than one, the
    first writes the rows to a spill, and the others read them from there.

    Parameters
    ----------
    where : str
        The call, for messages.
    table : RelationTable
        What is read.
    packer : Packer
        Makes its blocks.
    epochs : int
        Passes over it.

    Attributes
    ----------
    n_partitions : int or None
        Known from the last block of the first pass on.
    """

    order_is_fixed = True

    def __init__(
        self, where: str, table: RelationTable, packer: Packer, epochs: int = 1
    ) -> None:
        self.where = where
        self.table = table
        self.packer = packer
        self.epochs = epochs
        self.n_partitions: int | None = None
        self._reader: _Reader | None = None
        self._spilled: Partitions | None = None

    def turns(self) -> Iterator[Turn]:
        """List the loads of all passes; the first ends when the rows have ended."""
        for number in count():
            if self.n_partitions is not None:
                break
            yield Turn(number)
        for epoch in range(1, self.epochs):
            yield from (Turn(number, epoch) for number in range(self.n_partitions or 0))

    @contextmanager
    def loading(
        self, then: Callable[[Any, Turn], Any] | None = None
    ) -> Generator[StreamLoads]:
        """Run the query, and open loads; see :meth:`Partitions.loading`."""
        with StreamLoads(self, then) as loads:
            self._reader = loads.reader
            yield loads

    def stream(
        self,
        order: Iterable[Turn] | None = None,
        then: Callable[[Any, Turn], Any] | None = None,
        *,
        ahead: int | None = None,
    ) -> Generator[tuple[Turn, Loaded]]:
        """Read blocks in order; see :meth:`Partitions.stream`."""
        limit = 2 * CPU_COUNT if ahead is None else ahead
        turns = self.turns() if order is None else iter(order)
        with self.loading(then) as loads:
            window = in_window(turns, loads.submit, limit)
            with closing(window):
                for turn, future in window:
                    loaded = self.result(turn, future)
                    if loaded is not None:
                        yield turn, loaded

    def map(self, function: Callable[[Any, Turn], Any]) -> list[Any]:
        """Apply a function to every block in parallel and gather the results."""
        return [loaded.value for _, loaded in self.stream(then=function)]

    def result(self, turn: Turn, future: Any) -> Loaded | None:
        """Wait for the load of a turn; None if the rows have ended before it."""
        if turn.epoch:
            kept: Loaded = (
                future.result()  # nothing had to be read again
                if self._spilled is None
                else self._spilled.result(turn, future)
            )
            return kept
        assert self._reader is not None
        try:
            loaded: Loaded | None = future.result()
        except Exception as err:
            err.add_note(f"dfml: in partition {turn.number}.")
            raise
        n_blocks = self._reader.n_blocks
        assert loaded is not None or n_blocks is not None
        if n_blocks is not None and turn.number >= n_blocks - 1:
            self._reader.finish()
            if self.n_partitions is None:
                self._say_what_was_written()
            self.n_partitions = n_blocks
        return loaded

    def _say_what_was_written(self) -> None:
        spill = None if self._reader is None else self._reader.spill
        if spill is not None:
            n_rows = f"{spill.contents.n_rows:,}"
            text = "%s: the first pass has written %s rows to %s, for those to come"
            _log.info(text, self.where, n_rows, spill.directory)

    def spilled(self) -> Partitions:
        """Open the rows that the first pass has written down."""
        if self._spilled is None:
            assert self._reader is not None
            assert self._reader.spill is not None
            frame = frame_of(self._reader.spill, self.table.needed, Sizes())
            self._spilled = Partitions(frame)
        return self._spilled


@dataclass(frozen=True)
class Opened:
    """A table that is ready to load.

    Parameters
    ----------
    table : Table
        A relation that was spilled has become a table of partitions.
    partitions : Partitions or StreamedPartitions
        Of the table.
    pack : callable
        From what a load gives to a block.
    """

    table: Table
    partitions: Any
    pack: Callable[[Any], Block]


def open_partitions(
    where: str,
    table: Table,
    *,
    epochs: int = 1,
    named: bool = True,
    needs_partitions: str | None = None,
) -> Opened:
    """Lower a table, or get ready to stream a relation.

    Parameters
    ----------
    where : str
        The call, for messages.
    table : Table
        A relation is streamed, unless there is a reason to spill it.
    epochs : int, default=1
        Passes over the rows of a relation.
    named : bool, default=True
        False if blocks are to be bare arrays.
    needs_partitions : str, optional
        The reason, for the log.

    Returns
    -------
    opened : Opened
        A relation has run only if it was spilled.
    """
    if isinstance(table, RelationTable):
        if is_cluster(get_scheduler()):
            needs_partitions = "the workers of a cluster read them"
        if needs_partitions is not None:
            reason = needs_partitions
            _log.info("%s: the rows of the query are spilled first: %s", where, reason)
            table = table.spilled(where)
    if not isinstance(table, RelationTable):
        packer = _named(table.packer(where), named)
        partitions = Partitions(table.joint, BlockReads(packer))
        return Opened(table, partitions, _PackRows(packer))
    table = table.resolved(where)
    packer = _named(table.packer(where), named)
    streamed = StreamedPartitions(where, table, packer, epochs)
    return Opened(table, streamed, _PackRows(packer))


def _named(packer: Packer, named: bool) -> Packer:
    return replace(packer, named=packer.named and named)


class _PackRows:
    """Packs what loads as a frame; what was read as a block is left as it is."""

    def __init__(self, packer: Packer) -> None:
        self._packer = packer

    def __call__(self, loaded: Any) -> Block:
        return loaded if isinstance(loaded, Block) else self._packer(loaded)


class StreamLoads:
    """Loads of the blocks of a relation, and of the partitions of its spill."""

    cluster = None

    def __init__(
        self,
        partitions: StreamedPartitions,
        then: Callable[[Any, Turn], Any] | None,
    ) -> None:
        self._partitions = partitions
        self._then = then
        self._stack = ExitStack()
        self._later: Any = None
        self._pool = ThreadPoolExecutor(count_workers(), "dfml-load")
        self.reader = _Reader(partitions, Task(then, get_config()), self._pool)

    def __enter__(self) -> StreamLoads:
        try:
            self.reader.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.reader.close()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._stack.close()

    def submit(self, turn: Turn) -> Any:
        """Start to load one block."""
        if not turn.epoch:
            return self.reader.submit(turn)
        if self._later is None:
            loading = self._partitions.spilled().loading(self._then)
            self._later = self._stack.enter_context(loading)
        return self._later.submit(turn)

    def step(self) -> Any:
        """Make room for a step; DuckDB's threads do not know of it."""
        return nullcontext()

    def call(self, function: Callable[[], Loaded]) -> Any:
        """Start a function beside the loads."""
        return self._pool.submit(function)


class _Stopped(Exception):
    """Nobody wants the rest of the rows."""


class _Reader:
    """The thread that reads the stream; it alone touches it, from first to last.

    Parameters
    ----------
    partitions : StreamedPartitions
        What is read.
    task : Task
        For each block.
    pool : executor
        Where the task runs, beside the reading.
    """

    def __init__(
        self, partitions: StreamedPartitions, task: Task, pool: ThreadPoolExecutor
    ) -> None:
        self._where = partitions.where
        self._table = partitions.table
        self._keeps_rows = partitions.epochs > 1
        self._task = task
        self._pool = pool
        self._packer = partitions.packer
        self._dtypes = self._table.dtypes
        self._stream: ExitStack = ExitStack()
        self._thread = threading.Thread(target=self._run, name="dfml-read")
        self._arrays = ReusedArrays()
        # Guards what follows, which other threads look at.
        self._lock = threading.Lock()
        self._asked: deque[tuple[Turn, Future[Any]]] = deque()
        self._room = threading.Semaphore(0)
        self._is_reading = False
        self._is_stopped = False
        self._has_ended = False
        self._error: BaseException | None = None
        self.n_blocks: int | None = None
        self.spill: Spill | None = None

    def start(self) -> None:
        """Run the query, so that its errors are raised here, and begin to read."""
        relation, columns = self._table.rows(), self._table.needed
        source = describe_query(relation)
        self._connection = connection_of(relation, None)
        with database_errors(source, self._where), ExitStack() as stack:
            stream = open_stream(
                relation, columns, source, self._where, batch_bytes=BATCH_BYTES
            )
            self._schema, self._batches = stack.enter_context(stream)
            self._stream = stack.pop_all()
        self._thread.start()

    def submit(self, turn: Turn) -> Future[Any]:
        """Ask for one more block."""
        future: Future[Any] = Future()
        with self._lock:
            if not self._has_ended:
                self._asked.append((turn, future))
                self._room.release()
                return future
        if self._error is not None:
            future.set_exception(self._error)
        else:
            future.set_result(None)
        return future

    def finish(self) -> None:
        """Wait for the end of the thread, after the last block."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop reading, and wait until nobody reads."""
        with self._lock:
            self._is_stopped = True
            if self._is_reading:
                # While its stream is open the connection has no other query.
                self._connection.interrupt()
        if self._thread.ident is None:
            self._stream.close()
            return
        self._room.release()
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            # Closed by this thread too: nobody may close what somebody reads.
            with self._stream, closing(self._arrays):
                rows = self._passed_on(self._batches)
                if self._keeps_rows:
                    self.spill = write_spill(rows, self._schema, where=self._where)
                else:
                    deque(rows, maxlen=0)
        except BaseException as err:  # noqa: BLE001 - it is raised where blocks are used
            error = None if self._is_stopped else err
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Answer those who still ask: with the error, then with nothing."""
        with self._lock:
            self._has_ended = True
            self._error = error
            waiting = [f for _, f in self._asked if f.set_running_or_notify_cancel()]
        if error is not None and waiting:
            waiting.pop(0).set_exception(error)
        for future in waiting:
            future.set_result(None)

    def _passed_on(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Make blocks of the batches, and yield these for whoever writes them down."""
        row_bytes, batches = measure_rows(self._read(batches))
        n_rows = default_rows(row_bytes)
        n_blocks = 0
        maker: BlockMaker | None = None
        for batch in batches:
            start = 0
            while start < batch.num_rows:
                # A whole block waits for one more row: only then it is not the last.
                if maker is not None and len(maker) == n_rows:
                    self._hand_over(maker)
                    maker = None
                if maker is None:
                    maker, n_blocks = self._begin(n_rows), n_blocks + 1
                piece = batch.slice(start, n_rows - len(maker))
                maker.add(piece)
                start += piece.num_rows
            yield batch
        self.n_blocks = n_blocks
        if maker is not None:
            self._hand_over(maker)

    def _read(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the batches, and let others know while DuckDB is at work."""
        while True:
            with self._lock:
                if self._is_stopped:
                    raise _Stopped
                self._is_reading = True
            try:
                batch = next(batches, None)
            finally:
                with self._lock:
                    self._is_reading = False
            if batch is None:
                return
            yield batch

    def _begin(self, n_rows: int) -> BlockMaker:
        """Begin a block as soon as somebody has asked for it."""
        self._room.acquire()
        if self._is_stopped:
            raise _Stopped
        self._began = time.perf_counter()
        return make_block_maker(
            self._packer, self._schema, self._dtypes, n_rows, self._arrays
        )

    def _hand_over(self, maker: BlockMaker) -> None:
        """Give a block to the one who has asked first."""
        block = maker.finish()
        seconds = time.perf_counter() - self._began
        with self._lock:
            turn, future = self._asked.popleft()
        if future.set_running_or_notify_cancel():
            self._pool.submit(self._work, turn, future, block, seconds)

    def _work(
        self, turn: Turn, future: Future[Any], block: Block, seconds: float
    ) -> None:
        start = time.perf_counter()
        try:
            value = self._task(block, turn)
        except BaseException as err:  # noqa: BLE001 - it is raised where it is used
            future.set_exception(err)
        else:
            seconds += time.perf_counter() - start
            future.set_result(Loaded(value, seconds))
