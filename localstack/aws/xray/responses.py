"""X-Ray's operations: members of the request in, members of the answer out. Times are epoch seconds, as rest-json has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from localstack.aws import tags
from localstack.aws.errors import AwsError, not_implemented
from localstack.aws.tokens import make_token, read_token
from localstack.aws.xray.models import XRay
from localstack.aws.xray.sampling import Rule
from localstack.store import Store

#: What the X-Ray SDK's sampler asks the daemon's proxy for, unsigned: "Using X-Ray service sampling with the REST API".
UNSIGNED = frozenset({"GetSamplingRules", "GetSamplingTargets"})

PAGE_RULES = 100

Members = Mapping[str, Any]
Handler = Callable[[Members], dict[str, Any]]


class XRayResponses:
    """The operations that are built, by name in ``handlers``; every other one of the service model is not implemented."""

    def __init__(self, xray: XRay, store: Store) -> None:
        self._xray = xray
        self._store = store
        self.handlers: dict[str, Handler] = {
            "PutTraceSegments": self.put_trace_segments,
            "PutTelemetryRecords": self.put_telemetry_records,
            "GetTraceSummaries": self.get_trace_summaries,
            "BatchGetTraces": self.batch_get_traces,
            "GetSamplingRules": self.get_sampling_rules,
            "CreateSamplingRule": self.create_sampling_rule,
            "UpdateSamplingRule": self.update_sampling_rule,
            "DeleteSamplingRule": self.delete_sampling_rule,
            "GetSamplingTargets": self.get_sampling_targets,
            "GetSamplingStatisticSummaries": self.get_sampling_statistic_summaries,
            "GetGroups": self.get_groups,
            "GetGroup": self.get_group,
            "CreateGroup": self.create_group,
            "UpdateGroup": self.update_group,
            "DeleteGroup": self.delete_group,
            "GetEncryptionConfig": self.get_encryption_config,
            "ListTagsForResource": self.list_tags_for_resource,
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
        }

    # -- traces

    def put_trace_segments(self, members: Members) -> dict[str, Any]:
        rejected = self._xray.put(members["TraceSegmentDocuments"])
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
        page = self._xray.summaries(
            members["StartTime"], members["EndTime"], members.get("TimeRangeType", "TraceId"), members.get("NextToken")
        )
        answer = {"TraceSummaries": page.summaries, "ApproximateTime": time.time(), "TracesProcessedCount": len(page.summaries)}
        return answer | ({"NextToken": page.next_token} if page.next_token else {})

    def batch_get_traces(self, members: Members) -> dict[str, Any]:
        if "NextToken" in members:
            raise AwsError("InvalidRequestException", "NextToken is not one that this query returned: all traces come in one answer")
        traces, unprocessed = self._xray.traces(members["TraceIds"])
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

    # -- sampling

    def get_sampling_rules(self, members: Members) -> dict[str, Any]:
        rules, more = _page([_rule_record(rule) for rule in self._xray.sampling.rules()], members.get("NextToken"), "GetSamplingRules")
        return {"SamplingRuleRecords": rules} | more

    def create_sampling_rule(self, members: Members) -> dict[str, Any]:
        rule = self._xray.sampling.create(members["SamplingRule"], _tags(members.get("Tags", [])))
        return {"SamplingRuleRecord": _rule_record(rule)}

    def update_sampling_rule(self, members: Members) -> dict[str, Any]:
        return {"SamplingRuleRecord": _rule_record(self._xray.sampling.update(members["SamplingRuleUpdate"]))}

    def delete_sampling_rule(self, members: Members) -> dict[str, Any]:
        return {"SamplingRuleRecord": _rule_record(self._xray.sampling.delete(members))}

    def get_sampling_targets(self, members: Members) -> dict[str, Any]:
        if members.get("SamplingBoostStatisticsDocuments"):
            raise not_implemented("SamplingBoostStatisticsDocuments (adaptive sampling)")
        targets = self._xray.sampling.targets(members["SamplingStatisticsDocuments"])
        return {
            "SamplingTargetDocuments": targets.documents,
            "LastRuleModification": targets.last_modification,
            "UnprocessedStatistics": targets.unprocessed,
        }

    def get_sampling_statistic_summaries(self, members: Members) -> dict[str, Any]:
        page, more = _page(self._xray.sampling.statistics(), members.get("NextToken"), "GetSamplingStatisticSummaries")
        return {"SamplingStatisticSummaries": page} | more

    # -- groups

    def get_groups(self, members: Members) -> dict[str, Any]:
        groups, more = _page(self._xray.groups.all(), members.get("NextToken"), "GetGroups")
        return {"Groups": groups} | more

    def get_group(self, members: Members) -> dict[str, Any]:
        return {"Group": self._xray.groups.get(members)}

    def create_group(self, members: Members) -> dict[str, Any]:
        group = self._xray.groups.create(
            members["GroupName"], members.get("FilterExpression"), members.get("InsightsConfiguration"), _tags(members.get("Tags", []))
        )
        return {"Group": group}

    def update_group(self, members: Members) -> dict[str, Any]:
        return {"Group": self._xray.groups.update(members, members.get("FilterExpression"), members.get("InsightsConfiguration"))}

    def delete_group(self, members: Members) -> dict[str, Any]:
        self._xray.groups.delete(members)
        return {}

    # -- the account

    def get_encryption_config(self, _: Members) -> dict[str, Any]:
        return {"EncryptionConfig": {"Status": "ACTIVE", "Type": "NONE"}}

    def list_tags_for_resource(self, members: Members) -> dict[str, Any]:
        self._check_resource(members["ResourceARN"])
        found = tags.read(self._store, members["ResourceARN"])
        return {"Tags": [{"Key": key, "Value": value} for key, value in found.items()]}

    def tag_resource(self, members: Members) -> dict[str, Any]:
        arn = members["ResourceARN"]
        self._check_resource(arn)
        try:
            self._store.transact(lambda db: tags.change(db, arn, _tags(members["Tags"])))
        except tags.TooManyTags:
            raise AwsError("TooManyTagsException", f"A resource has at most {tags.MAX_TAGS} tags") from None
        return {}

    def untag_resource(self, members: Members) -> dict[str, Any]:
        arn = members["ResourceARN"]
        self._check_resource(arn)
        self._store.transact(lambda db: tags.change(db, arn, {}, members["TagKeys"]))
        return {}

    def _check_resource(self, arn: str) -> None:
        if not (self._xray.sampling.has(arn) or self._xray.groups.has(arn)):
            raise AwsError("ResourceNotFoundException", f"There is no group or sampling rule {arn}", 404)


def _rule_record(rule: Rule) -> dict[str, Any]:
    return {"SamplingRule": rule.members, "CreatedAt": rule.created, "ModifiedAt": rule.modified}


def _tags(entries: list[Mapping[str, str]]) -> dict[str, str]:
    return {entry["Key"]: entry["Value"] for entry in entries}


def _page(entries: list[dict[str, Any]], token: str | None, query: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A page of a list that is kept whole, and the NextToken where there is more."""
    start = 0
    if token is not None:
        position = read_token(token, query, (int,))
        if position is None:
            raise AwsError("InvalidRequestException", "NextToken is not one that this operation returned")
        start = position[0]
    end = start + PAGE_RULES
    return entries[start:end], ({"NextToken": make_token([end], query)} if end < len(entries) else {})
