"""Writing traces and reading them: PutTraceSegments, PutTelemetryRecords, GetTraceSummaries, BatchGetTraces."""

from __future__ import annotations

import time
from typing import Any

import orjson

from localstack.aws.errors import AwsError
from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members


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
        if members.get("FilterExpression"):
            raise AwsError(
                "InvalidRequestException",
                "FilterExpression is not implemented by the local X-Ray yet; leave it out and filter the summaries",
            )
        if members.get("Sampling") or "SamplingStrategy" in members:
            raise AwsError(
                "InvalidRequestException",
                "Sampling of summaries is not implemented by the local X-Ray; leave Sampling out to get all of them",
            )
        page = self._xray.traces.summaries(
            members["StartTime"], members["EndTime"], members.get("TimeRangeType", "TraceId"), members.get("NextToken")
        )
        answer = {"TraceSummaries": page.summaries, "ApproximateTime": time.time(), "TracesProcessedCount": len(page.summaries)}
        return answer | ({"NextToken": page.next_token} if page.next_token else {})

    def batch_get_traces(self, members: Members) -> dict[str, Any]:
        if "NextToken" in members:
            raise AwsError("InvalidRequestException", "NextToken is not one that this query returned: all traces come in one answer")
        traces, unprocessed = self._xray.traces.batch(members["TraceIds"])
        return {
            "Traces": [
                {
                    "Id": trace.id,
                    "Duration": trace.duration,
                    "LimitExceeded": trace.limit_exceeded,
                    "Segments": [{"Id": document["id"], "Document": orjson.dumps(document).decode()} for document in trace.documents],
                }
                for trace in traces
            ],
            "UnprocessedTraceIds": unprocessed,
        }
