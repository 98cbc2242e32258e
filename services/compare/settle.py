"""Reads every backend until the run has settled, and no longer than asked.

A run has settled when every expected signal is there, or when nothing has changed for SETTLE seconds. COMPARE_TIMEOUT bounds the
waiting: what is absent then, on a path that still changed within the last SETTLE seconds, is pending.

Backends are read at the same time, each by one thread; what they yield goes through a short queue to the one thread that owns the
comparison, so that neither a slow backend nor a large run fills the memory. After the first look, only paths that still lack
something are read again, and their readers read only what may have changed.
"""

from __future__ import annotations

import contextlib
import gc
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from compose.settings import SignalPath
from services.compare.model import MetricTotal, PathState, Progress
from services.compare.readers.base import Batch, Reader, Unreadable, Window, unreadable
from services.compare.readers.metrics import MetricReader
from services.compare.verdicts import Comparison

#: Batches that wait at most between the readers and the comparison.
QUEUE = 16
#: Objects made between two collections of garbage while backends are read; Python's default is 700.
COLLECT_EVERY = 50_000


@dataclass(frozen=True)
class Look:
    """How far things are after one look at the backends."""

    elapsed: float
    progress: Mapping[SignalPath, Progress]
    unreadable: Mapping[SignalPath, str]
    metrics: Sequence[MetricTotal]


@dataclass
class Settled:
    states: dict[SignalPath, PathState]
    metrics: list[MetricTotal]
    hints: dict[SignalPath, str]
    seconds: float
    #: Seconds that the first look at each path took; other paths were read meanwhile.
    reading: dict[SignalPath, float] = field(default_factory=dict)


@dataclass
class _Source:
    """One reader's course."""

    reader: Reader
    error: Unreadable | None = None
    read: bool = False
    changed: float = 0.0
    before: tuple[Progress, ...] = ()
    waiting: float = 0.0
    #: Seconds of the first look; None before it.
    seconds: float | None = None


@dataclass
class _Metric:
    reader: MetricReader
    expected: Mapping[str, tuple[int, int]]
    observed: dict[str, float] | None = None
    error: Unreadable | None = None
    changed: float = 0.0
    totals: list[MetricTotal] = field(default_factory=list)

    def look(self, window: Window) -> None:
        try:
            observed = self.reader.totals(window)
            self.error = None
        except Exception as error:
            observed, self.error = None, unreadable(error)
        if observed != self.observed:
            self.observed, self.changed = observed, time.monotonic()
        reason = self.error.reason if self.error is not None else None
        self.totals = [
            MetricTotal(self.reader.path, name, bounds, None if observed is None else observed[name], reason)
            for name, bounds in self.expected.items()
        ]

    def done(self) -> bool:
        if self.error is not None:
            return self.error.final
        return self.observed is not None and all(total.agrees for total in self.totals)


@contextlib.contextmanager
def _collecting_rarely() -> Iterator[None]:
    """What is read are many objects without cycles, gone as soon as they are in the comparison: looking for garbage among them every few
    hundred took a tenth of the processor time."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@_collecting_rarely()
def settle(
    comparison: Comparison,
    readers: Sequence[Reader],
    metrics: Sequence[MetricReader],
    expected: Mapping[str, tuple[int, int]],
    quiet: float,
    timeout: float,
    looked: Callable[[Look], None] = lambda _: None,
) -> Settled:
    """Read until settled. ``expected``: totals of metrics by the ledger; ``quiet``, ``timeout``: SETTLE and COMPARE_TIMEOUT, seconds.

    ``looked`` is told after each look. The first look is always finished, however long it takes: without it there is nothing to say.
    """
    window = comparison.window()
    began = time.monotonic()
    sources = [_Source(reader, changed=began) for reader in readers]
    totals = [_Metric(reader, expected, changed=began) for reader in metrics]
    progress: dict[SignalPath, Progress] = {}
    while True:
        now = time.monotonic()
        due = [source for source in sources if _open(source, progress) and source.waiting <= now]
        _look(comparison, window, due, [metric for metric in totals if not metric.done()])
        now = time.monotonic()
        progress = comparison.progress()
        for source in due:
            state = tuple(progress[path] for path in sorted(source.reader.paths & set(comparison.paths)))
            if state != source.before:
                source.before, source.changed = state, now
            source.waiting = now + source.reader.pause
        looked(
            Look(
                now - began,
                progress,
                {path: source.error.reason for source in sources if source.error is not None for path in source.reader.paths},
                [total for metric in totals for total in metric.totals],
            )
        )
        still = [source for source in sources if _open(source, progress)]
        counting = [metric for metric in totals if not metric.done()]
        last = max([source.changed for source in still] + [metric.changed for metric in counting], default=0.0)
        # A look at a slow backend may take longer than the quiet time: nothing has been still before it was seen twice.
        if not (still or counting) or now - last >= quiet or now - began >= timeout:
            return Settled(
                states={
                    path: PathState(
                        settled=source not in still or now - source.changed >= quiet,
                        unreadable=source.error.reason if source.error is not None else None,
                    )
                    for source in sources
                    for path in source.reader.paths & set(comparison.paths)
                },
                metrics=[total for metric in totals for total in metric.totals],
                hints={path: source.error.hint for source in sources if source.error is not None for path in source.reader.paths},
                seconds=now - began,
                reading={
                    path: source.seconds
                    for source in sources
                    if source.seconds is not None
                    for path in source.reader.paths & set(comparison.paths)
                },
            )
        pause = min([source.waiting - now for source in still] + [0.5 for _ in counting], default=0.0)
        time.sleep(max(0.0, min(pause, began + timeout - now)))


def _open(source: _Source, progress: Mapping[SignalPath, Progress]) -> bool:
    """Whether another look may tell something new. ``progress``: after the last one."""
    if source.error is not None:
        return not source.error.final
    return not source.read or any(progress[path].incomplete for path in source.reader.paths & progress.keys())


def _look(comparison: Comparison, window: Window, sources: Sequence[_Source], metrics: Sequence[_Metric]) -> None:
    """One look at some backends, all at the same time."""
    if not sources and not metrics:
        return
    arrived: queue.Queue[tuple[_Source, Batch | Unreadable | None]] = queue.Queue(QUEUE)
    wanted = {id(source): comparison.incomplete(source.reader.paths) if source.read else None for source in sources}
    stopped = threading.Event()
    began = time.monotonic()

    def put(source: _Source, item: Batch | Unreadable | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                arrived.put((source, item), timeout=0.5)
                return

    def read(source: _Source) -> None:
        try:
            for batch in source.reader.read(window, wanted[id(source)]):
                put(source, batch)
            put(source, None)
        except Exception as error:
            put(source, unreadable(error))

    # Daemons: who interrupts compare does not wait for a backend that hangs.
    threads = [threading.Thread(target=read, args=(source,), daemon=True) for source in sources]
    threads += [threading.Thread(target=metric.look, args=(window,), daemon=True) for metric in metrics]
    for thread in threads:
        thread.start()
    try:
        left = len(sources)
        while left:
            source, item = arrived.get()
            paths = source.reader.paths
            if isinstance(item, Batch):
                if item.anew:
                    comparison.clear(paths)
                comparison.forget(paths, item.replaces)
                comparison.add(item.observations)
                comparison.unknown(paths & set(comparison.paths), item.unknown)
                continue
            left -= 1
            if source.seconds is None:
                source.seconds = time.monotonic() - began
            source.error, source.read = item, item is None
            if item is not None:
                # What was read before it failed is not all there is.
                comparison.clear(paths)
    finally:
        stopped.set()
    for thread in threads:
        thread.join()
