"""Telemetry of one run, made that of another: what belongs to it, and what it becomes. Pure.

    ours = Selection("20260101-120000-ab12", trace_ids=ids_of_the_ledger)
    ours.traces(message)                # in place: what does not belong to the run is gone
    change = Rewriting(ours, new="20260101-130000-cd34", shift=3600)
    change.traces(message)              # the same, and what is left is the new run's
    change.trace_id(old_id)             # the same for the ledger

Belongs to the run: what says so by its attribute ``run`` (or its resource's), and, where none is there, what carries a trace id of the
run's ledger. Everything a run is told by changes: the attribute, trace ids (also those of links and exemplars, and in both written forms
inside attributes and bodies), and the times OTLP has fields for. Span ids stay: they are unique within a trace. What else an attribute or
a body says of time stays, since it is the application's own word.

A trace id's first 8 digits are epoch seconds to X-Ray ("Sending trace data to X-Ray", Trace IDs). They are shifted like every other time;
the other 24 follow from old id and new run, so that no table is needed and every message can be rewritten by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

#: The attribute that tells a run, on spans, log records and data points.
RUN: Final = "run"

_NANO = 1_000_000_000
#: A trace id as W3C writes it, and as X-Ray does.
_WRITTEN = re.compile(r"(?<![0-9a-fA-F])(?:([0-9a-f]{32})|1-([0-9a-f]{8})-([0-9a-f]{24}))(?![0-9a-fA-F])")


@dataclass
class Seen:
    """What was found of a run while it was rewritten, or only looked at."""

    #: Items of the run: spans, log records, data points.
    kept: int = 0
    #: Items of other runs, or of none.
    others: int = 0
    #: Of these, data points that belong to no run (a pool's size, the telemetry's own counters).
    of_no_run: int = 0
    #: Trace ids of the run's spans and log records, as recorded.
    trace_ids: set[str] = field(default_factory=set)
    #: The latest time of an item, epoch nanoseconds.
    latest: int = 0

    def add(self, other: Seen) -> None:
        self.kept += other.kept
        self.others += other.others
        self.of_no_run += other.of_no_run
        self.trace_ids |= other.trace_ids
        self.latest = max(self.latest, other.latest)


@dataclass(frozen=True)
class Selection:
    """What belongs to ``run``. ``trace_ids``: those of its ledger, 32 hex digits each."""

    run: str
    trace_ids: frozenset[str]

    def traces(self, data: TracesData) -> Seen:
        """Leave only the run's spans."""
        seen = Seen()

        def keep(span: Any, above: str | None) -> bool:
            return self._keep(seen, span.attributes, above, span.trace_id, span.end_time_unix_nano)

        _filter(data.resource_spans, "scope_spans", "spans", keep)
        return seen

    def logs(self, data: LogsData) -> Seen:
        """Leave only the run's log records."""
        seen = Seen()

        def keep(record: Any, above: str | None) -> bool:
            return self._keep(seen, record.attributes, above, record.trace_id, record.time_unix_nano or record.observed_time_unix_nano)

        _filter(data.resource_logs, "scope_logs", "log_records", keep)
        return seen

    def metrics(self, data: MetricsData) -> Seen:
        """Leave only the run's data points. A data point has no trace, so only its attribute tells."""
        seen = Seen()

        def keep(metric: Any, above: str | None) -> bool:
            points = _points(metric)
            if points is None:
                return False
            _retain(points, [point for point in points if self._keep(seen, point.attributes, above, b"", point.time_unix_nano)])
            return bool(points)

        _filter(data.resource_metrics, "scope_metrics", "metrics", keep)
        return seen

    def _keep(self, seen: Seen, attributes: Iterable[KeyValue], above: str | None, trace_id: bytes, time: int) -> bool:
        """Whether an item belongs to the run; notes it. ``above``: the run its resource names, if it does."""
        run = _run_of(attributes) or above
        written = trace_id.hex()
        belongs = run == self.run if run is not None else written in self.trace_ids
        if not belongs:
            seen.others += 1
            seen.of_no_run += run is None
            return False
        seen.kept += 1
        seen.latest = max(seen.latest, time)
        if written:
            seen.trace_ids.add(written)
        return True


@dataclass(frozen=True)
class Rewriting:
    """What is ``selected`` of a run becomes run ``new``, ``shift`` seconds later."""

    selected: Selection
    new: str
    shift: int

    # -- single values

    def trace_id(self, old: str) -> str:
        """The new id of a trace. The same old id always becomes the same new one."""
        seconds = int(old[:8], 16)
        # Of an id that the load generator did not make nobody knows whether its digits are a time.
        if old in self.selected.trace_ids:
            seconds = (seconds + self.shift) % (1 << 32)
        rest = hashlib.blake2b(f"{self.new} {old}".encode(), digest_size=12).hexdigest()
        return f"{seconds:08x}{rest}"

    def text(self, old: str) -> str:
        """A text in which the run and its trace ids are the new ones."""
        if self.selected.run in old:
            old = old.replace(self.selected.run, self.new)
        return _WRITTEN.sub(self._written, old) if len(old) >= 32 else old

    def _written(self, found: re.Match[str]) -> str:
        old = found[1] or found[2] + found[3]
        if old not in self.selected.trace_ids:
            return found[0]
        new = self.trace_id(old)
        return new if found[1] else f"1-{new[:8]}-{new[8:]}"

    def _id(self, old: bytes) -> bytes:
        return bytes.fromhex(self.trace_id(old.hex())) if len(old) == 16 else old

    def _time(self, item: Any, *names: str) -> None:
        """Shift these fields, epoch nanoseconds. 0 means unknown and stays so."""
        for name in names:
            if value := getattr(item, name):
                setattr(item, name, max(1, value + self.shift * _NANO))

    def _attributes(self, attributes: Iterable[KeyValue]) -> None:
        for attribute in attributes:
            self._value(attribute.value)

    def _value(self, value: AnyValue) -> None:
        waiting = [value]
        while waiting:
            each = waiting.pop()
            kind = each.WhichOneof("value")
            if kind == "string_value":
                new = self.text(each.string_value)
                if new != each.string_value:
                    each.string_value = new
            elif kind == "bytes_value":
                if each.bytes_value.hex() in self.selected.trace_ids:
                    each.bytes_value = self._id(each.bytes_value)
            elif kind == "array_value":
                waiting += each.array_value.values
            elif kind == "kvlist_value":
                waiting += [pair.value for pair in each.kvlist_value.values]

    # -- whole messages, in place

    def traces(self, data: TracesData) -> Seen:
        """Leave only the run's spans, as the new run's."""
        seen = self.selected.traces(data)
        for resource_spans in data.resource_spans:
            self._attributes(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                self._attributes(scope_spans.scope.attributes)
                for span in scope_spans.spans:
                    span.trace_id = self._id(span.trace_id)
                    self._time(span, "start_time_unix_nano", "end_time_unix_nano")
                    self._attributes(span.attributes)
                    for event in span.events:
                        self._time(event, "time_unix_nano")
                        self._attributes(event.attributes)
                    for link in span.links:
                        if link.trace_id.hex() in self.selected.trace_ids:
                            link.trace_id = self._id(link.trace_id)
                        self._attributes(link.attributes)
        return seen

    def logs(self, data: LogsData) -> Seen:
        """Leave only the run's log records, as the new run's."""
        seen = self.selected.logs(data)
        for resource_logs in data.resource_logs:
            self._attributes(resource_logs.resource.attributes)
            for scope_logs in resource_logs.scope_logs:
                self._attributes(scope_logs.scope.attributes)
                for record in scope_logs.log_records:
                    record.trace_id = self._id(record.trace_id)
                    self._time(record, "time_unix_nano", "observed_time_unix_nano")
                    self._attributes(record.attributes)
                    self._value(record.body)
        return seen

    def metrics(self, data: MetricsData) -> Seen:
        """Leave only the run's data points, as the new run's."""
        seen = self.selected.metrics(data)
        for resource_metrics in data.resource_metrics:
            self._attributes(resource_metrics.resource.attributes)
            for scope_metrics in resource_metrics.scope_metrics:
                self._attributes(scope_metrics.scope.attributes)
                for metric in scope_metrics.metrics:
                    self._attributes(metric.metadata)
                    for point in _points(metric) or ():
                        self._point(point)
        return seen

    def _point(self, point: Any) -> None:
        self._time(point, "time_unix_nano", "start_time_unix_nano")
        self._attributes(point.attributes)
        for exemplar in getattr(point, "exemplars", ()):
            self._time(exemplar, "time_unix_nano")
            self._attributes(exemplar.filtered_attributes)
            if exemplar.trace_id.hex() in self.selected.trace_ids:
                exemplar.trace_id = self._id(exemplar.trace_id)


def _run_of(attributes: Iterable[KeyValue]) -> str | None:
    """The run that attributes name, if they name one."""
    for attribute in attributes:
        if attribute.key == RUN:
            return attribute.value.string_value
    return None


def _filter(resources: Any, scopes: str, items: str, keep: Callable[[Any, str | None], bool]) -> None:
    """Leave only the items that ``keep`` takes, and no scope or resource without any. It is told the run that the resource names."""
    for resource in resources:
        above = _run_of(resource.resource.attributes)
        for scope in getattr(resource, scopes):
            _retain(getattr(scope, items), [item for item in getattr(scope, items) if keep(item, above)])
        _retain(getattr(resource, scopes), [scope for scope in getattr(resource, scopes) if getattr(scope, items)])
    _retain(resources, [resource for resource in resources if getattr(resource, scopes)])


def _retain(repeated: Any, kept: Sequence[Any]) -> None:
    """Leave only ``kept`` in a repeated field."""
    if len(kept) < len(repeated):
        copies = [type(each).FromString(each.SerializeToString()) for each in kept]
        del repeated[:]
        repeated.extend(copies)


def _points(metric: Any) -> Any:
    """The data points of a metric, whatever its type; None for a type this does not know."""
    kind = metric.WhichOneof("data")
    return getattr(metric, kind).data_points if kind is not None else None
