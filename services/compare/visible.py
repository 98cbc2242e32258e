"""How many of a run's requests each backend shows already, while the load goes on: cheap, paced, and only while somebody looks.

    lookout = Lookout(settings)
    state = lookout.watch(run)          # whoever looks asks again and again; after a while without, nothing is read any more
    state.pulse.finished, state.visible[SignalPath.XRAY_SDK].seen

This is no compare: a request counts as soon as its path shows anything of it. One thread reads for all who look. It asks each backend
for as little as its public API allows:

==========  ===========================================================================================================================
Honeycomb   one query, COUNT_DISTINCT(trace.trace_id) of the run ("Query Data": ten results a minute)
X-Ray       GetTraceSummaries with ``annotation.run``, of the seconds of trace ids that still lack requests. Each annotation says which
            services set it ("GetTraceSummaries": AnnotationValue, ServiceIds), which tells the two ways apart
CloudWatch  FilterLogEvents of the same seconds
Rollbar     occurrences, newest first, down to what is known
==========  ===========================================================================================================================
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from compose.settings import Settings, SignalPath
from loadtest.runs import Run
from services.compare.pulse import Pulse
from services.compare.readers.base import SLACK, Unreadable, Window, error_line, sent_at, unreadable
from services.cruddur.signals import OTEL_SERVICE, REQUEST_EVENT, XRAY_SEGMENT

#: Seconds without anybody asking after which nothing is read any more.
INTEREST: Final = 10.0
#: Seconds until a backend that could not be read is asked again, and one that refuses.
AGAIN, AGAIN_REFUSED = 5.0, 60.0
#: Seconds between two looks at a backend: of the local ones, and of the real ones by their limits.
PAUSE: Final = 1.5
PAUSE_ONLINE: Final = {"honeycomb": 15.0, "xray": 5.0, "cloudwatch": 5.0, "rollbar": 5.0}
#: Requests that are asked for in one range of seconds, roughly.
RANGE: Final = 500
#: Ranges a look takes, so that a look at a long run that was begun late comes back and says how far it is.
RANGES: Final = 8
#: Seconds after a request was sent in which its log line has its time.
LINE_AFTER: Final = 15.0
#: Runs that are kept in memory.
RUNS: Final = 4


@dataclass(frozen=True)
class Visible:
    """One path of a run that goes on.

    ``expected``: finished requests of which something must show there. ``seen``: those of which something does; None before the first
    look. ``reason``, ``hint``: why it could not be read the last time.
    """

    expected: int = 0
    seen: int | None = None
    reason: str = ""
    hint: str = ""

    @property
    def complete(self) -> bool:
        return self.seen is not None and self.seen >= self.expected


class Look(Protocol):
    """One backend. :meth:`seen` says how many requests it shows, by path. Raises Unreadable."""

    pause: float
    paths: frozenset[SignalPath]

    def seen(self, expected: Mapping[SignalPath, Counter[int]]) -> dict[SignalPath, int]: ...


class Seconds:
    """What was seen, by the second in the trace ids: a second that lacks nothing is not asked for again, one that does less and less
    often the older it is, since what a backend still lacks after a while comes late or never."""

    def __init__(self, paths: frozenset[SignalPath], pause: float) -> None:
        self._pause = pause
        self._open: dict[SignalPath, dict[int, set[str]]] = {path: {} for path in paths}
        self._done: dict[SignalPath, Counter[int]] = {path: Counter() for path in paths}
        self._next: dict[int, float] = {}

    def due(self, expected: Mapping[SignalPath, Counter[int]], now: float) -> Iterator[tuple[int, int]]:
        """Ranges of whole seconds (first, last) that lack requests, oldest first, each about :data:`RANGE` requests."""
        lacking = {
            second: count
            for path in self._open
            for second, count in sorted(expected[path].items())
            if self._count(path, second) < count and self._next.get(second, 0.0) <= now
        }
        first = last = None
        requests = 0
        for second, count in sorted(lacking.items()):
            if first is not None and last is not None and (second - last > 5 or requests >= RANGE):
                yield first, last
                first, requests = None, 0
            first = second if first is None else first
            last, requests = second, requests + count
        if first is not None and last is not None:
            yield first, last

    def looked(self, first: int, last: int, now: float) -> None:
        for second in range(first, last + 1):
            self._next[second] = now + max(self._pause, (now - second) / 4)

    def add(self, path: SignalPath, trace_id: str) -> None:
        second = int(sent_at(trace_id))
        if second not in self._done[path]:
            self._open[path].setdefault(second, set()).add(trace_id)

    def counts(self, expected: Mapping[SignalPath, Counter[int]], over: float) -> dict[SignalPath, int]:
        """How many of the expected are seen. Seconds before ``over`` get no new requests: those that lack nothing are closed."""
        for path, seconds in self._open.items():
            for second in [second for second, traces in seconds.items() if second < over and len(traces) >= expected[path][second]]:
                self._done[path][second] = len(seconds.pop(second))
        return {path: sum(min(self._count(path, second), count) for second, count in expected[path].items()) for path in self._open}

    def _count(self, path: SignalPath, second: int) -> int:
        done = self._done[path]
        return done[second] if second in done else len(self._open[path].get(second, ()))


class _Honeycomb:
    paths = frozenset({SignalPath.HONEYCOMB_OTLP})

    def __init__(self, settings: Settings, run: Run, pause: float) -> None:
        from services.compare.readers.honeycomb import HoneycombReader

        self.pause = pause
        self._reader = HoneycombReader(settings, (), hurry=True)
        self._run = run
        self._known = False

    def seen(self, expected: Mapping[SignalPath, Counter[int]]) -> dict[SignalPath, int]:  # noqa: ARG002 (counts them all)
        from services.compare.readers.honeycomb import minutes

        # A column that no event had yet is an error.
        self._known = self._known or {"trace.trace_id", "run"} <= self._reader.columns()
        if not self._known:
            return {SignalPath.HONEYCOMB_OTLP: 0}
        start, end = minutes(self._run.manifest.started - SLACK, time.time())
        spec = {
            "calculations": [{"op": "COUNT_DISTINCT", "column": "trace.trace_id"}],
            "filters": [{"column": "run", "op": "=", "value": self._run.id}, {"column": "trace.trace_id", "op": "exists"}],
            "start_time": start,
            "end_time": end,
        }
        rows = self._reader.query("__all__", spec)
        return {SignalPath.HONEYCOMB_OTLP: sum(int(row.get("COUNT_DISTINCT(trace.trace_id)") or 0) for row in rows)}


class _XRay:
    def __init__(self, settings: Settings, run: Run, paths: frozenset[SignalPath], pause: float) -> None:
        from services.compare.readers.aws import client

        self.pause = pause
        self.paths = paths
        self._services = {XRAY_SEGMENT: SignalPath.XRAY_SDK, OTEL_SERVICE: SignalPath.XRAY_OTLP}
        self._client = client(settings, "xray", hurry=True)
        self._run = run.id
        self._seconds = Seconds(paths, pause)

    def seen(self, expected: Mapping[SignalPath, Counter[int]]) -> dict[SignalPath, int]:
        now = time.time()
        for _, (first, last) in zip(range(RANGES), self._seconds.due(expected, now), strict=False):
            for summary in self._summaries(first, last + 1):
                trace_id = summary["Id"].removeprefix("1-").replace("-", "")
                for value in summary.get("Annotations", {}).get("run", []):
                    if value.get("AnnotationValue", {}).get("StringValue") != self._run:
                        continue
                    for service in value.get("ServiceIds", []):
                        path = self._services.get(service.get("Name"))
                        if path in self.paths and path is not None:
                            self._seconds.add(path, trace_id)
            self._seconds.looked(first, last, now)
        return self._seconds.counts(expected, now - INTEREST)

    def _summaries(self, start: int, end: int) -> Iterator[dict[str, Any]]:
        from datetime import UTC, datetime

        from services.compare.readers.aws import readable

        arguments: dict[str, Any] = {
            "StartTime": datetime.fromtimestamp(start, UTC),
            "EndTime": datetime.fromtimestamp(end, UTC),
            "TimeRangeType": "TraceId",
            "Sampling": False,
            "FilterExpression": f'annotation.run = "{self._run}"',
        }
        while True:
            with readable("X-Ray"):
                page: Any = self._client.get_trace_summaries(**arguments)
            yield from page.get("TraceSummaries", [])
            if not page.get("NextToken"):
                return
            arguments["NextToken"] = page["NextToken"]


class _CloudWatch:
    def __init__(self, settings: Settings, run: Run, path: SignalPath, pause: float) -> None:
        from services.compare.readers.aws import client

        self.pause = pause
        self.paths = frozenset({path})
        self._path = path
        watchtower = path is SignalPath.CLOUDWATCH_WATCHTOWER
        self._group = (settings.log_group, "LOG_GROUP") if watchtower else (settings.otlp_log_group, "OTLP_LOG_GROUP")
        self._client = client(settings, "logs", hurry=True)
        self._run = run.id
        self._seconds = Seconds(self.paths, pause)

    def seen(self, expected: Mapping[SignalPath, Counter[int]]) -> dict[SignalPath, int]:
        from services.compare.readers.cloudwatch import observation, pages

        now = time.time()
        for _, (first, last) in zip(range(RANGES), self._seconds.due(expected, now), strict=False):
            for page in pages(self._client, *self._group, first, last + LINE_AFTER):
                for event in page:
                    line = observation(self._path, event)
                    if line is not None and line.run == self._run and line.name == REQUEST_EVENT and _is_trace(line.trace_id):
                        self._seconds.add(self._path, str(line.trace_id))
            self._seconds.looked(first, last, now)
        return self._seconds.counts(expected, now - INTEREST)


class _Rollbar:
    paths = frozenset({SignalPath.ROLLBAR_SDK})

    def __init__(self, settings: Settings, run: Run, pause: float) -> None:
        from services.compare.readers.rollbar import RollbarReader

        self.pause = pause
        self._reader = RollbarReader(settings, hurry=True)
        self._window = Window(run.id, run.manifest.started - SLACK, float("inf"))
        self._traces: set[str] = set()
        self._read = False

    def seen(self, expected: Mapping[SignalPath, Counter[int]]) -> dict[SignalPath, int]:
        if any(expected[SignalPath.ROLLBAR_SDK].values()):
            # The first time down to the run's begin, then down to what is known. A look that failed half way is begun anew.
            first, self._read = not self._read, False
            for batch in self._reader.read(self._window, None if first else ()):
                self._traces |= {each.trace_id for each in batch.observations if each.run == self._window.run and each.trace_id}
            self._read = True
        return {SignalPath.ROLLBAR_SDK: len(self._traces)}


def _is_trace(text: str | None) -> bool:
    return text is not None and len(text) == 32 and all(digit in "0123456789abcdef" for digit in text)


def looks(settings: Settings, run: Run) -> list[Look]:
    """One for each backend on the run's paths."""
    paths = frozenset(run.manifest.paths)

    def pause(backend: str) -> float:
        return PAUSE_ONLINE[backend] if settings.mode == "online" else PAUSE

    found: list[Look] = []
    if SignalPath.HONEYCOMB_OTLP in paths:
        found.append(_Honeycomb(settings, run, pause("honeycomb")))
    if xray := paths & {SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP}:
        found.append(_XRay(settings, run, xray, pause("xray")))
    found += [
        _CloudWatch(settings, run, path, pause("cloudwatch"))
        for path in (SignalPath.CLOUDWATCH_WATCHTOWER, SignalPath.CLOUDWATCH_OTLP)
        if path in paths
    ]
    if SignalPath.ROLLBAR_SDK in paths:
        found.append(_Rollbar(settings, run, pause("rollbar")))
    return found


class Watch:
    """One run that somebody looks at. Its pulse is read by who looks, its backends by the thread."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.lock = threading.Lock()
        self.pulse = Pulse(run.folder, run.manifest.paths)
        self.visible: dict[SignalPath, Visible] = {path: Visible() for path in self.pulse.paths}
        self.asked = 0.0
        self.refreshed = 0.0
        self.looks: list[Look] | None = None
        self.due: dict[int, float] = {}

    def ask(self) -> None:
        """Somebody looks: bring the pulse up to date, at most twice a second however many look."""
        with self.lock:
            self.asked = time.monotonic()
            if self.asked - self.refreshed >= 0.5:
                self.pulse.refresh()
                self.refreshed = self.asked
                for path in self.pulse.paths:
                    self.visible[path] = replace(self.visible[path], expected=self.pulse.expected[path].total())

    def look(self, settings: Settings) -> None:
        """Ask the backends that are due."""
        if self.looks is None:
            try:
                self.looks = looks(settings, self.run)
            except Exception as error:
                # A profile of boto3's that cannot be read, for one.
                self._failed(self.pulse.paths, Unreadable(f"no client can be made ({type(error).__name__}: {error_line(error)})"))
                return
        for number, each in enumerate(self.looks):
            if self.due.get(number, 0.0) <= time.monotonic():
                self.due[number] = time.monotonic() + self._look(each)

    def _look(self, look: Look) -> float:
        """Ask one backend; seconds until it may be asked again."""
        with self.lock:
            expected = {path: self.pulse.expected[path].copy() for path in look.paths}
            if all(self.visible[path].complete for path in look.paths):
                return look.pause
        try:
            seen = look.seen(expected)
        except Exception as error:
            why = unreadable(error)
            self._failed(look.paths, why)
            return AGAIN_REFUSED if why.final else max(AGAIN, look.pause)
        with self.lock:
            for path in look.paths:
                # What the backend shows already and the ledger has not yet is not finished.
                count = min(seen[path], self.visible[path].expected)
                self.visible[path] = replace(self.visible[path], seen=count, reason="", hint="")
        return look.pause

    def _failed(self, paths: Iterable[SignalPath], error: Unreadable) -> None:
        with self.lock:
            for path in paths:
                self.visible[path] = replace(self.visible[path], reason=error.reason, hint=error.hint)


class Lookout:
    """Everybody who looks at runs that go on, and the one thread that reads for them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}
        self._thread: threading.Thread | None = None

    def watch(self, run: Run) -> Watch:
        """The watch of a run, up to date; its backends are read as long as somebody asks now and then."""
        with self._lock:
            found = self._watches.pop(run.id, None) or Watch(run)
            self._watches[run.id] = found  # Last: the one asked for longest ago goes first.
            while len(self._watches) > RUNS:
                del self._watches[next(iter(self._watches))]
            found.asked = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, name="lookout", daemon=True)
                self._thread.start()
        found.ask()
        return found

    def _read(self) -> None:
        while True:
            with self._lock:
                wanted = [watch for watch in self._watches.values() if time.monotonic() - watch.asked < INTEREST]
                if not wanted:
                    self._thread = None
                    return
            for watch in wanted:
                watch.look(self._settings)
            time.sleep(0.2)
