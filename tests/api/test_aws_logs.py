"""Log groups, streams and events, through boto3 and watchtower against the local CloudWatch Logs."""

from __future__ import annotations

import json
import logging
import secrets
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import watchtower

from tests.api.aws_clients import client, refused
from tests.api.servers import Vendor, start_vendor

DAY = 24 * 3600 * 1000


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def logs(aws: Vendor) -> Any:
    return client(aws, "logs")


@pytest.fixture
def group(logs: Any) -> str:
    """A new log group with the stream ``s``."""
    name = f"/test/{uuid.uuid4().hex}"
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="s")
    return name


def now() -> int:
    return int(time.time() * 1000)


def put(logs: Any, group: str, *events: tuple[int, str], stream: str = "s") -> dict[str, Any]:
    entries = [{"timestamp": timestamp, "message": message} for timestamp, message in events]
    answer: dict[str, Any] = logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=entries)
    return answer


def messages(logs: Any, group: str, **arguments: Any) -> list[str]:
    """The messages of FilterLogEvents over all its pages."""
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, **arguments)
    return [event["message"] for page in pages for event in page["events"]]


# -- groups and streams


def test_a_group_is_described_with_what_it_was_made_of(logs: Any) -> None:
    name = f"/test/{uuid.uuid4().hex}"
    logs.create_log_group(logGroupName=name, tags={"team": "a"}, logGroupClass="INFREQUENT_ACCESS")
    (found,) = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    arn = f"arn:aws:logs:us-east-1:123456789012:log-group:{name}"
    assert found.pop("creationTime") <= now()
    assert found == {
        "logGroupName": name,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "storedBytes": 0,
        "logGroupClass": "INFREQUENT_ACCESS",
        "deletionProtectionEnabled": False,
    }
    logs.tag_resource(resourceArn=arn, tags={"more": "b"})
    logs.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"more": "b"}
    assert logs.list_tags_log_group(logGroupName=name)["tags"] == {"more": "b"}
    refused(lambda: logs.create_log_group(logGroupName=name), "ResourceAlreadyExistsException", "already exists")
    refused(lambda: logs.list_tags_for_resource(resourceArn=arn + "x"), "ResourceNotFoundException", "does not exist")


def test_groups_are_listed_by_prefix_pattern_and_page(logs: Any) -> None:
    mark = uuid.uuid4().hex
    names = sorted(f"/{mark}/{number:03d}" for number in range(60))
    for name in names:
        logs.create_log_group(logGroupName=name)

    def listed(**arguments: Any) -> list[str]:
        pages = logs.get_paginator("describe_log_groups").paginate(**arguments)
        return [found["logGroupName"] for page in pages for found in page["logGroups"]]

    assert listed(logGroupNamePrefix=f"/{mark}/") == names
    assert listed(logGroupNamePattern=f"{mark}/05") == names[50:60]
    refused(
        lambda: logs.describe_log_groups(logGroupNamePrefix="a", logGroupNamePattern="a"), "InvalidParameterException", "mutually exclusive"
    )
    refused(lambda: logs.describe_log_groups(nextToken="junk"), "InvalidParameterException", "nextToken")


def test_retention_is_one_of_the_documented_days(logs: Any, group: str) -> None:
    logs.put_retention_policy(logGroupName=group, retentionInDays=7)
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["retentionInDays"] == 7
    refused(lambda: logs.put_retention_policy(logGroupName=group, retentionInDays=8), "InvalidParameterException", "retentionInDays")
    logs.delete_retention_policy(logGroupName=group)
    assert "retentionInDays" not in logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]


def test_streams_are_listed_by_name_and_by_last_event(logs: Any, group: str) -> None:
    at = now()
    for number, name in enumerate(["b", "a", "c"]):
        logs.create_log_stream(logGroupName=group, logStreamName=name)
        put(logs, group, (at - number * 1000, "first"), (at - number * 1000 + 5, "last"), stream=name)
    names = [found["logStreamName"] for found in logs.describe_log_streams(logGroupName=group)["logStreams"]]
    assert names == ["a", "b", "c", "s"]
    latest = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
    assert [found["logStreamName"] for found in latest] == ["b", "a", "c", "s"]
    assert latest[0]["firstEventTimestamp"] == at
    assert latest[0]["lastEventTimestamp"] == at + 5
    assert latest[0]["lastIngestionTime"] >= at
    assert "firstEventTimestamp" not in latest[3]
    paged = [
        found["logStreamName"]
        for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=group, PaginationConfig={"PageSize": 2})
        for found in page["logStreams"]
    ]
    assert paged == names
    refused(
        lambda: logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", logStreamNamePrefix="a"),
        "InvalidParameterException",
        "LastEventTime",
    )
    refused(lambda: logs.create_log_stream(logGroupName=group, logStreamName="a"), "ResourceAlreadyExistsException", "already exists")


def test_what_is_deleted_is_gone_and_does_not_come_back_with_its_name(logs: Any, group: str) -> None:
    put(logs, group, (now(), "old"))
    logs.delete_log_stream(logGroupName=group, logStreamName="s")
    refused(lambda: put(logs, group, (now(), "x")), "ResourceNotFoundException", "log stream does not exist")
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    assert messages(logs, group) == []
    put(logs, group, (now(), "new"))
    logs.delete_log_group(logGroupName=group)
    refused(lambda: put(logs, group, (now(), "x")), "ResourceNotFoundException", "log group does not exist")
    refused(lambda: logs.filter_log_events(logGroupName=group), "ResourceNotFoundException", "log group does not exist")
    logs.create_log_group(logGroupName=group)
    assert logs.describe_log_streams(logGroupName=group)["logStreams"] == []


def test_a_protected_group_stays(logs: Any) -> None:
    name = f"/test/{uuid.uuid4().hex}"
    logs.create_log_group(logGroupName=name, deletionProtectionEnabled=True)
    refused(lambda: logs.delete_log_group(logGroupName=name), "ValidationException", "deletion protection")


# -- PutLogEvents


def test_events_come_back_with_their_times_and_the_groups_size(logs: Any, group: str) -> None:
    at = now()
    answer = put(logs, group, (at, "grüße ☃"), (at, json.dumps({"event": "home"})))
    assert answer["nextSequenceToken"]
    assert "rejectedLogEventsInfo" not in answer
    events = logs.filter_log_events(logGroupName=group)["events"]
    assert [(event["timestamp"], event["message"], event["logStreamName"]) for event in events] == [
        (at, "grüße ☃", "s"),
        (at, '{"event": "home"}', "s"),
    ]
    assert all(at <= event["ingestionTime"] <= now() for event in events)
    assert len({event["eventId"] for event in events}) == 2
    stored = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["storedBytes"]
    assert stored == sum(len(event["message"].encode()) + 26 for event in events)


def test_a_sequence_token_is_ignored(logs: Any, group: str) -> None:
    logs.put_log_events(logGroupName=group, logStreamName="s", sequenceToken="wrong", logEvents=[{"timestamp": now(), "message": "m"}])
    assert messages(logs, group) == ["m"]


def test_events_too_old_too_new_or_expired_are_named_and_the_rest_is_stored(logs: Any, group: str) -> None:
    at = now()
    old, new = at - 15 * DAY, at + 3 * 3600 * 1000
    answer = put(logs, group, (old, "old"), (old, "old too"), (at, "fine"), (new, "new"))
    # End indexes are exclusive, start indexes inclusive.
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 2, "tooNewLogEventStartIndex": 3}
    assert messages(logs, group) == ["fine"]
    logs.put_retention_policy(logGroupName=group, retentionInDays=1)
    answer = put(logs, group, (at - 2 * DAY, "expired"), (at, "fine too"))
    assert answer["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    assert messages(logs, group) == ["fine", "fine too"]


def test_a_bad_batch_stores_nothing(logs: Any, group: str) -> None:
    at = now()
    refused(lambda: put(logs, group, (at, "b"), (at - 1, "a")), "InvalidParameterException", "chronological")
    refused(lambda: put(logs, group, (at - DAY - 1000, "a"), (at, "b")), "InvalidParameterException", "24 hours")
    refused(lambda: put(logs, group, (at, "x" * 1_048_577)), "InvalidParameterException", "too large")
    refused(lambda: put(logs, group, *((at, "x" * 10_000) for _ in range(105))), "InvalidParameterException", "exceeds limit")
    assert messages(logs, group) == []


def test_ten_thousand_events_a_call_are_taken_and_one_more_is_not(logs: Any, group: str) -> None:
    at = now()
    put(logs, group, *((at, str(number)) for number in range(10_000)))
    refused(lambda: put(logs, group, *((at, "x") for _ in range(10_001))), "InvalidParameterException", "less than or equal to 10000")
    assert messages(logs, group) == [str(number) for number in range(10_000)]


# -- FilterLogEvents


def test_filtering_by_time_and_stream(logs: Any, group: str) -> None:
    at = now() - 10_000
    for name in ("app-1", "app-2", "other"):
        logs.create_log_stream(logGroupName=group, logStreamName=name)
        put(logs, group, *((at + number * 10, f"{name}.{number}") for number in range(3)), stream=name)
    assert messages(logs, group, logStreamNamePrefix="app-") == [f"app-{stream}.{number}" for number in range(3) for stream in (1, 2)]
    assert messages(logs, group, logStreamNames=["other"]) == ["other.0", "other.1", "other.2"]
    assert messages(logs, group, logStreamNames=["other"], startTime=at + 10, endTime=at + 10) == ["other.1"], "both ends belong to it"
    assert messages(logs, group, logStreamNames=["other"], startFromHead=False) == ["other.2", "other.1", "other.0"]
    arn = f"arn:aws:logs:us-east-1:123456789012:log-group:{group}"
    assert len(logs.filter_log_events(logGroupIdentifier=arn)["events"]) == 9
    refused(
        lambda: logs.filter_log_events(logGroupName=group, logStreamNames=["nobody"]),
        "ResourceNotFoundException",
        "log stream does not exist",
    )
    refused(
        lambda: logs.filter_log_events(logGroupName=group, logStreamNames=["other"], logStreamNamePrefix="a"),
        "InvalidParameterException",
        "Only one of",
    )
    refused(lambda: logs.filter_log_events(), "InvalidParameterException", "either logGroupName or logGroupIdentifier")


def test_pages_of_a_filter_are_whole_in_both_directions(logs: Any, group: str) -> None:
    at = now()
    everything = [f"{number}" for number in range(250)]
    for start in range(0, 250, 50):
        put(logs, group, *((at, message) for message in everything[start : start + 50]))
    assert messages(logs, group, PaginationConfig={"PageSize": 7}) == everything
    assert messages(logs, group, PaginationConfig={"PageSize": 7}, startFromHead=False) == everything[::-1]
    token = logs.filter_log_events(logGroupName=group, limit=7)["nextToken"]
    refused(
        lambda: logs.filter_log_events(logGroupName=group, startTime=1, nextToken=token),
        "InvalidParameterException",
        "nextToken is invalid",
    )


def test_a_page_holds_at_most_a_megabyte(logs: Any, group: str) -> None:
    for number in range(3):
        put(logs, group, (now(), str(number) * 600_000))
    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName=group))
    assert [len(page["events"]) for page in pages] == [1, 1, 1]


def test_a_filter_pattern_is_refused_rather_than_ignored(logs: Any, group: str) -> None:
    put(logs, group, (now(), "m"))
    refused(
        lambda: logs.filter_log_events(logGroupName=group, filterPattern="ERROR"),
        "InvalidParameterException",
        "filterPattern is not implemented",
    )
    assert messages(logs, group, filterPattern="") == ["m"]


# -- GetLogEvents


def test_reading_a_stream_forward_and_backward(logs: Any, group: str) -> None:
    at = now() - 1000
    put(logs, group, *((at + number, str(number)) for number in range(10)))

    def get(**arguments: Any) -> tuple[list[str], str, str]:
        page = logs.get_log_events(logGroupName=group, logStreamName="s", **arguments)
        return [event["message"] for event in page["events"]], page["nextForwardToken"], page["nextBackwardToken"]

    latest, end, before = get(limit=4)
    assert latest == ["6", "7", "8", "9"], "without a token the latest, oldest first"
    earlier, _, before = get(limit=4, nextToken=before)
    assert earlier == ["2", "3", "4", "5"]
    first, _, start = get(limit=4, nextToken=before)
    assert first == ["0", "1"]
    assert get(nextToken=start) == ([], start.replace("b/", "f/"), start), "at the start the token leads back to itself"
    head, forward, _ = get(limit=3, startFromHead=True)
    assert head == ["0", "1", "2"]
    assert get(nextToken=forward, startFromHead=True)[0] == ["3", "4", "5", "6", "7", "8", "9"]
    assert get(startTime=at + 3, endTime=at + 5)[0] == ["3", "4"], "the end does not belong to it"
    assert get(nextToken=end)[:2] == ([], end)
    put(logs, group, (at + 10, "10"))
    assert get(nextToken=end)[0] == ["10"], "the token at the end sees what comes later"
    refused(lambda: get(nextToken="f/abc"), "InvalidParameterException", "nextToken")


# -- everything else


def test_what_is_not_built_says_so(logs: Any, group: str) -> None:
    refused(
        lambda: logs.start_query(logGroupName=group, startTime=0, endTime=1, queryString="fields @message"),
        "NotImplementedException",
        "StartQuery",
        501,
    )
    refused(lambda: logs.describe_metric_filters(), "NotImplementedException", "DescribeMetricFilters", 501)


def test_watchtower_makes_its_group_and_loses_no_line(aws: Vendor, logs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # To tag its group watchtower asks STS, by a client of its own, which account it is in.
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", aws.settings.aws_region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws.settings.aws_access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.settings.aws_secret_access_key.get_secret_value())
    name = f"cruddur-{secrets.token_hex(4)}"
    handler: Any = watchtower.CloudWatchLogHandler(
        log_group_name=name,
        log_stream_name="cruddur-stream",
        boto3_client=client(aws, "logs"),
        log_group_retention_days=7,
        log_group_tags={"app": "cruddur"},
        send_interval=1,
    )
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    for number in range(300):
        logger.info({"event": "request", "number": number})
    handler.flush()
    handler.close()
    logger.removeHandler(handler)
    assert [json.loads(message)["number"] for message in messages(logs, name)] == list(range(300))
    (found,) = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    assert found["retentionInDays"] == 7
    assert logs.list_tags_log_group(logGroupName=name)["tags"] == {"app": "cruddur"}


def test_moto_knows_nothing_of_the_logs_kept_here(aws: Vendor, group: str) -> None:
    """No second state: moto, which answers every other service in the same process, has no log group."""
    data = requests.get(f"{aws.url}/moto-api/data.json", timeout=60).json()
    assert not data.get("logs", {}).get("LogGroup")
