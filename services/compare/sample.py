"""Some requests of a run with the vendors' own records of them, kept aside while a run is read.

    sample = Sample(chosen(entries))
    settle(comparison, [sample.listening(reader) for reader in sources], ...)
    sample.observations()

What a reader says of these requests is kept as long as it is true: what it reads again takes the place of what it said before. No vendor
is asked anything more, but for Honeycomb, whose events have as many columns as are asked for: :meth:`Sample.ask`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from threading import Lock

from compose.settings import SignalPath
from services.compare.readers.base import Batch, Observation, Reader, Window, unreadable

_Key = tuple[SignalPath, str]


class Sample:
    """Observations of a few requests, each with its document, by path and trace id. Safe for the threads of several readers."""

    def __init__(self, traces: frozenset[str]) -> None:
        self.traces = traces
        #: Why a path was not looked at, or not whole.
        self.reasons: dict[SignalPath, str] = {}
        self._kept: dict[_Key, list[Observation]] = {}
        self._lock = Lock()

    def listening(self, reader: Reader) -> Reader:
        """The reader, whose observations of these requests are kept aside as they come."""
        return _Listening(reader, self)

    def ask(self, reader: Reader, window: Window) -> None:
        """Ask a reader for these requests alone, with their documents, in place of what was kept on its paths. A backend that cannot be
        read costs its own paths only; :attr:`reasons` says why."""
        self.forget(reader.paths)
        try:
            for batch in reader.read(window, self.traces):
                self.take(reader.paths, batch)
        except Exception as error:
            self.forget(reader.paths)
            self.reasons |= dict.fromkeys(reader.paths, unreadable(error).reason)

    def take(self, paths: Collection[SignalPath], batch: Batch) -> None:
        """What a reader of ``paths`` says now."""
        if batch.anew:
            self.forget(paths)
        with self._lock:
            for trace in batch.replaces & self.traces:
                for path in paths:
                    self._kept.pop((path, trace), None)
            for each in batch.observations:
                if each.trace_id in self.traces:
                    self._kept.setdefault((each.path, str(each.trace_id)), []).append(each)

    def forget(self, paths: Collection[SignalPath]) -> None:
        """Nothing of what was kept of these paths is true any longer."""
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if key[0] not in paths}

    def observations(self) -> list[Observation]:
        """All that is kept, always in the same order."""
        with self._lock:
            return [each for key in sorted(self._kept) for each in self._kept[key]]


class _Listening:
    """A reader that is listened to."""

    def __init__(self, reader: Reader, sample: Sample) -> None:
        self._reader = reader
        self._sample = sample
        self.paths = reader.paths
        self.pause = reader.pause

    def read(self, window: Window, wanted: Collection[str] | None) -> Iterator[Batch]:
        if wanted is None:
            self._sample.forget(self.paths)
        try:
            for batch in self._reader.read(window, wanted):
                self._sample.take(self.paths, batch)
                yield batch
        except Exception:
            # What was read before it failed is not all there is.
            self._sample.forget(self.paths)
            raise

    def trace(self, trace_id: str, around: float) -> list[Observation]:
        return self._reader.trace(trace_id, around)
