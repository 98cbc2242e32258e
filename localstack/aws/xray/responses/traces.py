"""Writing traces and reading them: PutTraceSegments, PutTelemetryRecords, GetTraceSummaries, BatchGetTraces."""

from __future__ import annotations

from typing import Any

from localstack.aws.errors import AwsError
from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members
from localstack.aws.xray.traces.reading import Sampling, SummaryQuery


class TraceResponses:
    def __init__(self, xray: XRay) -> None:
        self._xray = xray
        self.handlers: dict[str, Handler] = {
            "PutTraceSegments": self.put_trace_segments,
            "PutTelemetryRecords": self.put_telemetry_records,
            "GetTraceSummaries": self.get_trace_summaries,
            "BatchGetTraces": self.batch_get_traces,
        }

    def put_trace_segments(self, members: Members) -> dict[str, Any]:
        rejected = self._xray.segments.put(members["TraceSegmentDocuments"])
        return {
            "UnprocessedTraceSegments": [
                {"ErrorCode": one.code, "Message": one.message} | ({"Id": one.id} if one.id is not None else {}) for one in rejected
            ]
        }

    def put_telemetry_records(self, _: Members) -> dict[str, Any]:
        """Checked and dropped: they are the daemon's own counters, and no operation of X-Ray returns them."""
        return {}

    def get_trace_summaries(self, members: Members) -> dict[str, Any]:
        query = SummaryQuery(
            members["StartTime"],
            members["EndTime"],
            members.get("TimeRangeType", "TraceId"),
            members.get("FilterExpression"),
            _sampling(members),
        )
        page = self._xray.traces.summaries(query, members.get("NextToken"))
        answer = {"TraceSummaries": page.summaries, "ApproximateTime": page.since, "TracesProcessedCount": page.processed}
        return answer | ({"NextToken": page.next_token} if page.next_token else {})

    def batch_get_traces(self, members: Members) -> dict[str, Any]:
        page = self._xray.traces.batch(members["TraceIds"], members.get("NextToken"))
        answer: dict[str, Any] = {
            "Traces": [
                {
                    "Id": trace.id,
                    "Duration": trace.duration,
                    "LimitExceeded": trace.limit_exceeded,
                    "Segments": [{"Id": identity, "Document": document} for identity, document in trace.documents],
                }
                for trace in page.traces
            ],
            "UnprocessedTraceIds": page.unprocessed,
        }
        return answer | ({"NextToken": page.next_token} if page.next_token else {})


def _sampling(members: Members) -> Sampling | None:
    """``Sampling: false`` wins over a strategy; a strategy alone is enough: "to indicate whether to enable sampling"."""
    strategy = members.get("SamplingStrategy")
    if not members.get("Sampling", strategy is not None):
        return None
    if not strategy:
        return Sampling()
    if "Name" not in strategy or "Value" not in strategy:
        raise AwsError("InvalidRequestException", "SamplingStrategy needs Name and Value")
    return Sampling(strategy["Name"], strategy["Value"])
