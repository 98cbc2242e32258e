"""X-Ray read back: trace summaries to find the run's traces, then the traces themselves, for both ways to X-Ray at once.

Wire facts, from "GetTraceSummaries" and "BatchGetTraces" (AWS X-Ray API reference) and "AWS X-Ray segment documents" (developer guide):

- summaries cover at most 24 hours a call and come in pages; traces are fetched five ids a call, which may leave some unprocessed;
- a trace's segments are JSON texts; a segment holds its subsegments, but a subsegment may also come as a document of its own, with
  ``type: subsegment`` and the ``parent_id`` of what it belongs to;
- the revision of a trace grows with each document, so an unchanged trace need not be fetched again;
- the SDK names itself in ``aws.xray.sdk``. Both ways end in the same trace, and this tells them apart.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

from compose.settings import Settings, SignalPath
from services.compare.readers.aws import client, readable
from services.compare.readers.base import Batch, Observation, Unreadable, Window, parse

#: What the X-Ray SDK for Python calls itself in ``aws.xray.sdk``.
SDK_MARK: Final = "X-Ray for Python"
#: Ids BatchGetTraces takes.
IDS_A_CALL: Final = 5
#: Hours GetTraceSummaries covers.
HOURS_A_CALL: Final = 24
#: Calls under way at once.
THREADS: Final = 4
#: Pages of summaries whose traces are being fetched, at most.
PAGES_UNDER_WAY: Final = 2
#: Times an unprocessed trace is asked for.
TRIES: Final = 5

#: Observations, and why nothing can be said of some traces.
_Fetched = tuple[list[Observation], dict[str, str]]


class XRayReader:
    """One fetch serves both paths. ``documents``: each observation comes with its document, or those of these traces."""

    paths = frozenset({SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP})

    def __init__(self, settings: Settings, documents: bool | Collection[str] = False) -> None:
        self._documents = documents
        self.pause = 5.0 if settings.mode == "online" else 0.5
        self._client = client(settings, "xray")
        self._revisions: dict[str, int] = {}
        #: Traces that were scanned or retrieved so far, which X-Ray bills.
        self.traces_read = 0

    def read(self, window: Window, wanted: Collection[str] | None) -> Iterator[Batch]:
        if wanted is None:
            self._revisions.clear()
        must = frozenset(wanted or ())
        seen: set[str] = set()
        waiting: dict[str, int] = {}
        # Traces are fetched while the next page of summaries is asked for; no more than two pages are under way.
        under_way: deque[tuple[dict[str, int], list[Future[_Fetched]]]] = deque()
        with ThreadPoolExecutor(THREADS, thread_name_prefix="xray") as threads:
            for page in chain(self._summaries(window), [None]):
                for trace, revision in (page or {}).items():
                    # A trace at the border of two ranges is in both.
                    if trace not in seen and (self._revisions.get(trace) != revision or (revision == 0 and trace in must)):
                        seen.add(trace)
                        waiting[trace] = revision
                # Whole calls: what is left over goes with the next page.
                count = len(waiting) if page is None else len(waiting) // IDS_A_CALL * IDS_A_CALL
                fetch = {trace: waiting.pop(trace) for trace in list(waiting)[:count]}
                if fetch:
                    under_way.append((fetch, [threads.submit(self._fetched, ids) for ids in _batched(list(fetch), IDS_A_CALL)]))
                while len(under_way) > (PAGES_UNDER_WAY if page is not None else 0):
                    revisions, calls = under_way.popleft()
                    fetched = [call.result() for call in calls]
                    unknown = {trace: why for _, without in fetched for trace, why in without.items()}
                    self.traces_read += len(revisions)
                    self._revisions |= {trace: revision for trace, revision in revisions.items() if trace not in unknown}
                    yield Batch(
                        [each for found, _ in fetched for each in found],
                        replaces=frozenset() if wanted is None else frozenset(revisions),
                        unknown=unknown,
                    )

    def _fetched(self, ids: Sequence[str]) -> _Fetched:
        """Up to five traces as observations, and what cannot be said of which of them."""
        traces, unprocessed = self._fetch(ids)
        unknown = {_w3c(trace["Id"]): "X-Ray cut this trace at its size limit" for trace in traces if trace.get("LimitExceeded")}
        unknown |= dict.fromkeys(unprocessed, "X-Ray left this trace unprocessed, again and again")
        return [each for trace in traces for each in walk(trace, self._documented(trace))], unknown

    def _documented(self, trace: Mapping[str, Any]) -> bool:
        return self._documents if isinstance(self._documents, bool) else _w3c(trace["Id"]) in self._documents

    def trace(self, trace_id: str, around: float) -> list[Observation]:  # noqa: ARG002 (X-Ray finds a trace by its id alone)
        # X-Ray lists an id it does not know as unprocessed, too.
        traces, _ = self._fetch([trace_id], tries=2)
        return [each for trace in traces for each in walk(trace, documents=True)]

    def _summaries(self, window: Window) -> Iterator[dict[str, int]]:
        """The run's traces with their revision (0 where X-Ray does not say), page by page: those in the ledger, and those annotated with
        the run."""
        start = window.start
        while start < window.end:
            end = min(start + HOURS_A_CALL * 3600, window.end)
            arguments: dict[str, Any] = {"StartTime": _time(start), "EndTime": _time(end), "TimeRangeType": "TraceId", "Sampling": False}
            while True:
                with readable("X-Ray"):
                    page = self._client.get_trace_summaries(**arguments)
                self.traces_read += len(page.get("TraceSummaries", []))
                yield {
                    trace: summary.get("Revision", 0)
                    for summary in page.get("TraceSummaries", [])
                    if (trace := _w3c(summary["Id"])) in window.traces or window.run in _annotated(summary, "run")
                }
                if not page.get("NextToken"):
                    break
                arguments["NextToken"] = page["NextToken"]
            start = end

    def _fetch(self, traces: Sequence[str], tries: int = TRIES) -> tuple[list[Mapping[str, Any]], list[str]]:
        """Up to five traces, and the ids that X-Ray would not process."""
        left = [_xray(trace) for trace in traces]
        fetched: dict[str, Any] = {}
        for attempt in range(tries):
            if attempt:
                time.sleep(0.1 * (2**attempt - 1))
            arguments: dict[str, Any] = {"TraceIds": left}
            left = []
            while True:
                with readable("X-Ray"):
                    page = self._client.batch_get_traces(**arguments)
                for trace in page.get("Traces", []):
                    # A trace may go on on the next page.
                    known = fetched.setdefault(trace["Id"], {"Id": trace["Id"], "Segments": [], "LimitExceeded": False})
                    known["Segments"] += trace.get("Segments", [])
                    known["LimitExceeded"] |= trace.get("LimitExceeded", False)
                left += page.get("UnprocessedTraceIds", [])
                if not page.get("NextToken"):
                    break
                arguments["NextToken"] = page["NextToken"]
            if not left:
                break
        return list(fetched.values()), [_w3c(trace) for trace in left]


def walk(trace: Mapping[str, Any], documents: bool = False) -> list[Observation]:
    """A trace of BatchGetTraces as observations: its segments and subsegments, however they came."""
    trace_id = _w3c(trace["Id"])
    nodes: dict[str, tuple[Mapping[str, Any], str | None, bool]] = {}
    for segment in trace.get("Segments", []):
        try:
            document = parse(segment["Document"])
        except ValueError as error:
            raise Unreadable(f"X-Ray holds a segment of trace {trace_id} that is not JSON ({error})") from error
        _collect(document, document.get("parent_id"), document.get("type") != "subsegment", nodes)
    attributes_of = {identity: _attributes(document) for identity, (document, _, _) in nodes.items()}
    run = next((value for each in attributes_of.values() if (value := each.get("run")) is not None), None)
    belongs: dict[str, tuple[Mapping[str, Any] | None, str]] = {}
    observations = []
    for identity, (document, parent, is_segment) in nodes.items():
        home, mark = belongs[identity] = _belonging(identity, nodes, belongs)
        if document.get("in_progress") or document.get("inferred"):
            continue  # not finished, or made up by X-Ray: nobody sent it
        attributes = attributes_of[identity]
        start, end = document.get("start_time"), document.get("end_time")
        observations.append(
            Observation(
                path=SignalPath.XRAY_SDK if SDK_MARK in mark else SignalPath.XRAY_OTLP,
                kind="segment" if is_segment else "subsegment",
                service=home.get("name", "") if home is not None else str(attributes.get("otel.resource.service.name", "")),
                name=document.get("name", ""),
                id=identity,
                trace_id=trace_id,
                run=attributes.get("run") or run,
                attributes=attributes,
                parent_id=parent,
                start=start,
                duration_ms=(end - start) * 1000 if start is not None and end is not None else None,
                error=bool(document.get("fault")),
                document={key: value for key, value in document.items() if key != "subsegments"} if documents else None,
            )
        )
    return observations


def _collect(
    document: Mapping[str, Any], parent: str | None, is_segment: bool, nodes: dict[str, tuple[Mapping[str, Any], str | None, bool]]
) -> None:
    known = nodes.get(document["id"])
    # The completed document wins over its in-progress version, whichever comes first.
    if known is None or known[0].get("in_progress"):
        nodes[document["id"]] = (document, parent, is_segment)
    for child in document.get("subsegments", []):
        _collect(child, document["id"], False, nodes)


def _ancestors(identity: str, nodes: Mapping[str, tuple[Mapping[str, Any], str | None, bool]]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """A document and those it lies in, from the inside out, up to its segment."""
    seen: set[str] = set()
    at: str | None = identity
    while at is not None and at in nodes and at not in seen:
        seen.add(at)
        document, parent, is_segment = nodes[at]
        yield document, is_segment
        if is_segment:
            return
        at = parent


def _belonging(
    identity: str,
    nodes: Mapping[str, tuple[Mapping[str, Any], str | None, bool]],
    known: Mapping[str, tuple[Mapping[str, Any] | None, str]],
) -> tuple[Mapping[str, Any] | None, str]:
    """The segment a document belongs to, None when it has not arrived; and the mark of whoever sent it, which a subsegment without one has
    from what it lies in. ``known``: the same of documents that were asked about before."""
    document, parent, is_segment = nodes[identity]
    if is_segment:
        return document, _mark(document)
    if parent is not None and parent in known:
        home, mark = known[parent]
        return home, _mark(document) or mark
    above = list(_ancestors(identity, nodes))
    home = next((each for each, ends in above if ends), None)
    return home, next((mark for each, _ in above if (mark := _mark(each))), "")


def _mark(document: Mapping[str, Any]) -> str:
    """What a document says of the SDK that sent it."""
    aws = document.get("aws")
    return aws.get("xray", {}).get("sdk") or "" if aws is not None else ""


def _attributes(document: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of every namespace, and annotations, by key; nulls left out. An annotation wins, as the more visible one."""
    found: dict[str, Any] = {}
    for values in document.get("metadata", {}).values():
        if isinstance(values, dict):
            found.update(values)
    found.update(document.get("annotations", {}))
    return {key: value for key, value in found.items() if value is not None} if None in found.values() else found


def _annotated(summary: Mapping[str, Any], key: str) -> set[str]:
    return {each.get("AnnotationValue", {}).get("StringValue", "") for each in summary.get("Annotations", {}).get(key, [])}


def _xray(trace_id: str) -> str:
    return f"1-{trace_id[:8]}-{trace_id[8:]}"


def _w3c(trace_id: str) -> str:
    return trace_id.removeprefix("1-").replace("-", "")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _batched(items: Sequence[str], size: int) -> list[list[str]]:
    return [list(items[at : at + size]) for at in range(0, len(items), size)]
