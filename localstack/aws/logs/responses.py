"""CloudWatch Logs' operations: members of the request in, members of the answer out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from localstack.aws.errors import AwsError, not_implemented
from localstack.aws.logs.models import Group, Logs, StreamStatistics

Members = Mapping[str, Any]
Handler = Callable[[Members], dict[str, Any]]


class LogsResponses:
    """The operations that are built, by name in ``handlers``; every other one of the service model is not implemented."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self.handlers: dict[str, Handler] = {
            "CreateLogGroup": self.create_log_group,
            "DeleteLogGroup": self.delete_log_group,
            "DescribeLogGroups": self.describe_log_groups,
            "PutRetentionPolicy": self.put_retention_policy,
            "DeleteRetentionPolicy": self.delete_retention_policy,
            "CreateLogStream": self.create_log_stream,
            "DeleteLogStream": self.delete_log_stream,
            "DescribeLogStreams": self.describe_log_streams,
            "PutLogEvents": self.put_log_events,
            "GetLogEvents": self.get_log_events,
            "FilterLogEvents": self.filter_log_events,
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTagsForResource": self.list_tags_for_resource,
            "TagLogGroup": self.tag_log_group,
            "UntagLogGroup": self.untag_log_group,
            "ListTagsLogGroup": self.list_tags_log_group,
        }

    # -- groups

    def create_log_group(self, members: Members) -> dict[str, Any]:
        self._logs.create_group(
            members["logGroupName"],
            members.get("logGroupClass", "STANDARD"),
            members.get("kmsKeyId"),
            members.get("deletionProtectionEnabled", False),
            members.get("tags", {}),
        )
        return {}

    def delete_log_group(self, members: Members) -> dict[str, Any]:
        self._logs.delete_group(members["logGroupName"])
        return {}

    def describe_log_groups(self, members: Members) -> dict[str, Any]:
        if members.get("includeLinkedAccounts") or members.get("accountIdentifiers"):
            raise not_implemented("DescribeLogGroups over linked accounts")
        groups, token = self._logs.groups(
            members.get("logGroupNamePrefix"),
            members.get("logGroupNamePattern"),
            members.get("logGroupClass"),
            members.get("logGroupIdentifiers"),
            members.get("limit"),
            members.get("nextToken"),
        )
        return {"logGroups": [self._group(group, stored) for group, stored in groups]} | _next(token)

    def _group(self, group: Group, stored: int) -> dict[str, Any]:
        arn = self._logs.group_arn(group.name)
        members = {
            "logGroupName": group.name,
            "creationTime": group.created,
            "metricFilterCount": 0,
            "arn": f"{arn}:*",
            "storedBytes": stored,
            "logGroupClass": group.log_class,
            "logGroupArn": arn,
            "deletionProtectionEnabled": group.protected,
        }
        if group.retention_days is not None:
            members["retentionInDays"] = group.retention_days
        if group.kms_key is not None:
            members["kmsKeyId"] = group.kms_key
        return members

    def put_retention_policy(self, members: Members) -> dict[str, Any]:
        self._logs.set_retention(members["logGroupName"], members["retentionInDays"])
        return {}

    def delete_retention_policy(self, members: Members) -> dict[str, Any]:
        self._logs.set_retention(members["logGroupName"], None)
        return {}

    # -- streams

    def create_log_stream(self, members: Members) -> dict[str, Any]:
        self._logs.create_stream(members["logGroupName"], members["logStreamName"])
        return {}

    def delete_log_stream(self, members: Members) -> dict[str, Any]:
        self._logs.delete_stream(members["logGroupName"], members["logStreamName"])
        return {}

    def describe_log_streams(self, members: Members) -> dict[str, Any]:
        group = self._group_name(members)
        streams, token = self._logs.streams(
            group,
            members.get("logStreamNamePrefix"),
            members.get("orderBy") == "LastEventTime",
            members.get("descending", False),
            members.get("limit"),
            members.get("nextToken"),
        )
        return {"logStreams": [self._stream(group, statistics) for statistics in streams]} | _next(token)

    def _stream(self, group: str, statistics: StreamStatistics) -> dict[str, Any]:
        times = {
            "firstEventTimestamp": statistics.first,
            "lastEventTimestamp": statistics.last,
            "lastIngestionTime": statistics.last_ingestion,
        }
        return {
            "logStreamName": statistics.stream.name,
            "creationTime": statistics.stream.created,
            "arn": self._logs.stream_arn(group, statistics.stream.name),
            # Of streams it is always 0 since June 2019.
            "storedBytes": 0,
        } | {name: value for name, value in times.items() if value is not None}

    # -- events

    def put_log_events(self, members: Members) -> dict[str, Any]:
        events = [(event["timestamp"], event["message"]) for event in members["logEvents"]]
        rejected = self._logs.put(members["logGroupName"], members["logStreamName"], events)
        # Sequence tokens are ignored since 2023, and still returned.
        answer: dict[str, Any] = {"nextSequenceToken": f"{secrets.randbelow(10**56):056d}"}
        if rejected is not None:
            indexes = {
                "tooOldLogEventEndIndex": rejected.too_old_end,
                "expiredLogEventEndIndex": rejected.expired_end,
                "tooNewLogEventStartIndex": rejected.too_new_start,
            }
            answer["rejectedLogEventsInfo"] = {name: index for name, index in indexes.items() if index is not None}
        return answer

    def get_log_events(self, members: Members) -> dict[str, Any]:
        page = self._logs.stream_events(
            self._group_name(members),
            members["logStreamName"],
            members.get("startTime"),
            members.get("endTime"),
            members.get("limit"),
            members.get("startFromHead", False),
            members.get("nextToken"),
        )
        return {
            "events": [{"timestamp": event.timestamp, "message": event.message, "ingestionTime": event.ingestion} for event in page.events],
            "nextForwardToken": page.forward_token,
            "nextBackwardToken": page.backward_token,
        }

    def filter_log_events(self, members: Members) -> dict[str, Any]:
        if members.get("filterPattern", "").strip():
            raise AwsError(
                "InvalidParameterException",
                "filterPattern is not implemented by the local CloudWatch Logs yet; leave it out and filter the events",
            )
        page = self._logs.filter(
            self._group_name(members),
            members.get("logStreamNames"),
            members.get("logStreamNamePrefix"),
            members.get("startTime"),
            members.get("endTime"),
            members.get("limit"),
            members.get("startFromHead", True),
            members.get("nextToken"),
        )
        events = [
            {
                "logStreamName": event.stream,
                "timestamp": event.timestamp,
                "message": event.message,
                "ingestionTime": event.ingestion,
                "eventId": f"{event.id:056d}",
            }
            for event in page.events
        ]
        # searchedLogStreams is empty since 2019.
        return {"events": events, "searchedLogStreams": []} | _next(page.next_token)

    # -- tags

    def tag_resource(self, members: Members) -> dict[str, Any]:
        self._logs.change_tags(members["resourceArn"], members["tags"])
        return {}

    def untag_resource(self, members: Members) -> dict[str, Any]:
        self._logs.change_tags(members["resourceArn"], {}, members["tagKeys"])
        return {}

    def list_tags_for_resource(self, members: Members) -> dict[str, Any]:
        return {"tags": self._logs.tags(members["resourceArn"])}

    def tag_log_group(self, members: Members) -> dict[str, Any]:
        self._logs.change_tags(self._logs.group_arn(members["logGroupName"]), members["tags"])
        return {}

    def untag_log_group(self, members: Members) -> dict[str, Any]:
        self._logs.change_tags(self._logs.group_arn(members["logGroupName"]), {}, members["tags"])
        return {}

    def list_tags_log_group(self, members: Members) -> dict[str, Any]:
        return {"tags": self._logs.tags(self._logs.group_arn(members["logGroupName"]))}

    def _group_name(self, members: Members) -> str:
        return self._logs.resolve(members.get("logGroupName"), members.get("logGroupIdentifier"))


def _next(token: str | None) -> dict[str, str]:
    return {"nextToken": token} if token else {}
