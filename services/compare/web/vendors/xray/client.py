"""X-Ray's reading operations, as the pages need them. The answers are the API's own members ("AWS X-Ray API Reference"); times are numbers.

Every call raises Unreadable (no key, no permission, no answer) or Rejected (X-Ray understood, and says what is wrong with the question).
Lists come whole where they are short by nature; what can be long is cut after so many pages, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError, ParamValidationError

from compose.settings import Settings
from services.compare.readers.aws import client, readable
from services.compare.readers.base import error_line

Members = Mapping[str, Any]

#: Seconds after which no further page of a list is asked for, and pages at most: somebody waits.
LIST_SECONDS: Final = 10.0
LIST_PAGES: Final = 60

#: Errors that say that the question is wrong. (The service model; ValidationException of the newer operations.)
_QUESTION: Final = {"InvalidRequestException", "ValidationException", "ResourceNotFoundException", "SerializationException"}


class Rejected(Exception):
    """X-Ray's own words about a question it cannot answer; ``reason`` may have several lines, the last of which points at the fault."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = ""


@dataclass(frozen=True)
class Listing:
    """Entries of a list, in X-Ray's order. ``cut``: there were more."""

    entries: Sequence[Members]
    cut: bool = False


@dataclass(frozen=True)
class SummaryPage:
    """A page of GetTraceSummaries. ``processed``: traces X-Ray looked at for it; ``since``: how far back (epoch seconds)."""

    summaries: Sequence[Members]
    processed: int | None
    since: float | None
    next_token: str


@dataclass(frozen=True)
class Trace:
    """A trace of BatchGetTraces: ``documents`` are its segments' JSON texts; ``limit_exceeded``: X-Ray holds no more of it."""

    id: str
    duration: float | None
    limit_exceeded: bool
    documents: Sequence[str]


class Client:
    """One account's X-Ray in one region. Any number of threads can use it."""

    def __init__(self, settings: Settings) -> None:
        with readable("X-Ray"):
            self._xray: Any = client(settings, "xray", hurry=True)

    def service_graph(self, start: float, end: float, group: str) -> Listing:
        """GetServiceGraph: services, each with its edges. At most 6 hours."""
        arguments = {"StartTime": _time(start), "EndTime": _time(end)} | _named_group(group)
        return self._all(self._xray.get_service_graph, "Services", **arguments)

    def trace_graph(self, trace_id: str) -> Listing:
        """GetTraceGraph of one trace."""
        return self._all(self._xray.get_trace_graph, "Services", TraceIds=[trace_id])

    def statistics(self, start: float, end: float, group: str, period: int, selector: str) -> Listing:
        """GetTimeSeriesServiceStatistics; with no selector, of all edges."""
        arguments: dict[str, Any] = {"StartTime": _time(start), "EndTime": _time(end), "Period": period} | _named_group(group)
        if selector:
            arguments["EntitySelectorExpression"] = selector
        return self._all(self._xray.get_time_series_service_statistics, "TimeSeriesServiceStatistics", **arguments)

    def summaries(self, start: float, end: float, expression: str, by: str, sampled: bool, token: str) -> SummaryPage:
        """One page of GetTraceSummaries. At most 24 hours. ``by``: TraceId, Event or Service."""
        arguments: dict[str, Any] = {"StartTime": _time(start), "EndTime": _time(end), "TimeRangeType": by, "Sampling": sampled}
        if expression:
            arguments["FilterExpression"] = expression
        if token:
            arguments["NextToken"] = token
        with _answered():
            answer = self._xray.get_trace_summaries(**arguments)
        return SummaryPage(
            summaries=answer.get("TraceSummaries", []),
            processed=answer.get("TracesProcessedCount"),
            since=epoch(answer.get("ApproximateTime")),
            next_token=answer.get("NextToken") or "",
        )

    def trace(self, trace_id: str) -> Trace | None:
        """BatchGetTraces of one id, over all pages; None where X-Ray leaves it unprocessed, as it does one it does not know."""
        arguments: dict[str, Any] = {"TraceIds": [trace_id]}
        found, duration, limit, documents = False, None, False, []
        for _ in range(LIST_PAGES):
            with _answered():
                answer = self._xray.batch_get_traces(**arguments)
            for trace in answer.get("Traces", []):
                found, limit = True, limit or bool(trace.get("LimitExceeded"))
                duration = trace.get("Duration", duration)
                documents += [str(segment.get("Document", "")) for segment in trace.get("Segments", [])]
            if not answer.get("NextToken"):
                break
            arguments["NextToken"] = answer["NextToken"]
        return Trace(trace_id, duration, limit, documents) if found else None

    def groups(self) -> Listing:
        return self._all(self._xray.get_groups, "Groups")

    def insights(self, start: float, end: float, group: str) -> Listing:
        """GetInsightSummaries of one group. Neither time more than 30 days old."""
        return self._all(
            self._xray.get_insight_summaries, "InsightSummaries", StartTime=_time(start), EndTime=_time(end), **_named_group(group)
        )

    def insight(self, insight_id: str) -> Members:
        with _answered():
            found: Members = self._xray.get_insight(InsightId=insight_id)["Insight"]
        return found

    def insight_events(self, insight_id: str) -> Listing:
        return self._all(self._xray.get_insight_events, "InsightEvents", InsightId=insight_id)

    def impact_graph(self, insight_id: str, start: float, end: float) -> Listing:
        """GetInsightImpactGraph: services and edges without figures. At most 6 hours."""
        return self._all(self._xray.get_insight_impact_graph, "Services", InsightId=insight_id, StartTime=_time(start), EndTime=_time(end))

    def sampling_rules(self) -> Listing:
        return self._all(self._xray.get_sampling_rules, "SamplingRuleRecords")

    def sampling_statistics(self) -> Listing:
        return self._all(self._xray.get_sampling_statistic_summaries, "SamplingStatisticSummaries")

    def encryption(self) -> Members:
        with _answered():
            found: Members = self._xray.get_encryption_config()["EncryptionConfig"]
        return found

    def destination(self) -> Members:
        with _answered():
            found: Members = self._xray.get_trace_segment_destination()
        return found

    def indexing_rules(self) -> Listing:
        return self._all(self._xray.get_indexing_rules, "IndexingRules")

    def policies(self) -> Listing:
        return self._all(self._xray.list_resource_policies, "ResourcePolicies")

    def _all(self, operation: Callable[..., Members], member: str, **arguments: Any) -> Listing:
        """Every page of a list, as long as that takes no longer than somebody waits."""
        entries: list[Members] = []
        patience = time.monotonic() + LIST_SECONDS
        for _ in range(LIST_PAGES):
            with _answered():
                answer = operation(**arguments)
            entries += answer.get(member) or []
            token = answer.get("NextToken")
            if not token:
                return Listing(entries)
            if time.monotonic() > patience:
                break
            arguments["NextToken"] = token
        return Listing(entries, cut=True)


@contextmanager
def _answered() -> Iterator[None]:
    """Turn what boto3 raises into Unreadable or Rejected."""
    try:
        with readable("X-Ray"):
            try:
                yield
            except ClientError as error:
                said = error.response.get("Error", {})
                if said.get("Code") in _QUESTION:
                    raise Rejected(str(said.get("Message") or said["Code"])) from error
                raise
            except ParamValidationError as error:
                # botocore refuses what the service model does not allow: an empty name, a token too long.
                raise Rejected(error_line(error)) from error
    except (KeyError, AttributeError, TypeError) as error:
        raise Rejected(f"The answer is none of X-Ray's API ({type(error).__name__}: {error_line(error)})") from error


def epoch(value: Any) -> float | None:
    """A time of an answer in epoch seconds."""
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, (int, float)) else None


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _named_group(group: str) -> dict[str, str]:
    return {"GroupName": group} if group else {}
