"""One story of X-Ray, told by AWS's own command line: an application is traced, fails, is looked into; the account is set up.

Every command of ``aws xray`` is run with arguments a person would give, most of them many times. What was sent and what came is
collected, for the tests that look at the answers and for the one that holds the documentation of members against them.
"""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.api.aws_answers import Members, checked_session, model, service_model
from tests.api.aws_clients import segment_id
from tests.api.servers import Vendor
from tests.waiting import until

#: Minutes before now: calm traffic, then faults until the incident is over, calm again, and faults that still go on.
CALM, FAULTY, CALM_AGAIN, STILL_FAULTY = range(60, 45, -1), range(45, 42, -1), range(30, 25, -1), range(3, 1, -1)
REQUESTS = 14
#: Minutes before that in which there was one request.
TICKS = 520

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "SNSAccess",
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": ["xray:PutTraceSegments", "xray:GetSamplingRules", "xray:GetSamplingTargets"],
            "Resource": "*",
        }
    ],
}


class CommandLine:
    """``aws xray``, in this process: the command line takes a second to start, and fifteen milliseconds to run."""

    def __init__(self, vendor: Vendor, home: Path) -> None:
        self._patch = pytest.MonkeyPatch()
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
            self._patch.delenv(name, raising=False)
        for name, value in {
            "AWS_CONFIG_FILE": str(home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
            "AWS_ENDPOINT_URL": vendor.url,
            "AWS_DEFAULT_REGION": vendor.settings.aws_region,
            "AWS_DEFAULT_OUTPUT": "json",
            "AWS_ACCESS_KEY_ID": vendor.settings.aws_access_key_id,
            "AWS_SECRET_ACCESS_KEY": vendor.settings.aws_secret_access_key.get_secret_value(),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
        }.items():
            self._patch.setenv(name, value)
        from awscli.clidriver import create_clidriver

        self._driver = create_clidriver()
        self.commands: set[str] = set()
        self.sent = Members()
        self.came = Members()
        checked_session(self._driver.session, self.came, self.sent)

    def close(self) -> None:
        self._patch.undo()

    def run(self, command: str, *arguments: Any) -> tuple[int, str, str]:
        """Exit status, standard output and standard error. An argument that is no text is given as JSON."""
        words = [argument if isinstance(argument, str) else json.dumps(argument) for argument in arguments]
        out, error = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status = self._driver.main(["xray", command, *words])
        texts = []
        for stream in (out, error):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode())
        return status, texts[0], texts[1]

    def __call__(self, command: str, *arguments: Any) -> Any:
        """The answer of a command that must succeed."""
        status, out, error = self.run(command, *arguments)
        assert status == 0, f"aws xray {command} {arguments}: {error}"
        self.commands.add(command)
        return json.loads(out) if out else {}


@dataclass
class Story:
    """What the commands answered, by the name this module gives them."""

    aws: CommandLine
    now: float
    answers: dict[str, Any] = field(default_factory=dict)
    traces: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.answers[name]


def operations() -> dict[str, str]:
    """Every operation of X-Ray by the command that calls it."""
    from botocore import xform_name

    return {xform_name(name, "-"): name for name in service_model("xray").operation_names}


def tell(vendor: Vendor, home: Path) -> Story:
    """Run the whole story."""
    story = Story(CommandLine(vendor, home), time.time())
    for chapter in (_account, _rules, _traffic, _groups, _traces, _graphs, _insights, _sampling, _retrieval, _tags, _end):
        chapter(story, story.aws, home)
    return story


# -- documents


def _id(epoch: float) -> str:
    return f"1-{int(epoch):08x}-{secrets.token_hex(12)}"


def request(
    trace: str, start: float, fault: bool = False, error: bool = False, slow: float = 0.0, table: bool = True
) -> list[dict[str, Any]]:
    """A request to cruddur, which asks profiles, which asks DynamoDB.

    With ``fault`` DynamoDB fails, and with it profiles and cruddur; without ``table`` it is profiles that fails.
    """
    front, back, call, query = (segment_id() for _ in range(4))
    seconds = 0.2 + slow
    failure = {
        "fault": True,
        "cause": {
            "working_directory": "/srv",
            "exceptions": [{"id": segment_id(), "message": "no such table: profile", "type": "OperationalError", "remote": fault}],
        },
    }
    broken = failure if fault else {}
    status = 502 if fault else 404 if error else 200
    wrong = {"error": True} if error else {}
    return [
        {
            "name": "cruddur",
            "id": front,
            "trace_id": trace,
            "start_time": start,
            "end_time": start + seconds,
            "origin": "AWS::EC2::Instance",
            "user": "ada" if fault else "grace",
            "resource_arn": f"arn:aws:ec2:us-east-1:123456789012:instance/i-{int(fault)}",
            "aws": {
                "account_id": "123456789012",
                "ec2": {"instance_id": f"i-{int(fault)}", "availability_zone": f"us-east-1{'ab'[fault]}"},
            },
            "http": {
                "request": {
                    "method": "POST" if fault else "GET",
                    "url": f"https://cruddur.example/api/{'messages' if fault else 'home'}",
                    "user_agent": "curl/8" if fault else "locust",
                    "client_ip": "192.0.2.1" if fault else "192.0.2.2",
                },
                "response": {"status": status},
            },
            "annotations": {"route": "/api", "retries": 1 + int(fault), "beta": fault, "tenant": "one" if fault else "two"},
            "metadata": {"UserData": {"handle": "ada"}},
            "subsegments": [
                {
                    "name": "profiles.internal",
                    "id": call,
                    "namespace": "remote",
                    "start_time": start + 0.01,
                    "end_time": start + seconds - 0.01,
                    "http": {"request": {"method": "GET", "url": "http://profiles.internal/"}, "response": {"status": status}},
                }
                | broken
                | wrong,
            ],
        }
        | broken
        | wrong,
        {
            "name": "profiles",
            "id": back,
            "trace_id": trace,
            "parent_id": call,
            "start_time": start + 0.02,
            "end_time": start + seconds - 0.02,
            "origin": "AWS::ECS::Container",
            "aws": {"account_id": "210987654321"},
            "subsegments": [
                {
                    "name": "DynamoDB",
                    "id": query,
                    "namespace": "aws",
                    "start_time": start + 0.03,
                    "end_time": start + seconds - 0.03,
                    "aws": {"operation": "GetItem", "table_name": "profile"},
                }
                | (broken if table else {})
            ],
        }
        | broken
        | wrong,
    ]


def throttled(trace: str, start: float) -> list[dict[str, Any]]:
    """A request that was throttled, to a service that puts a message on a queue; a worker takes it two seconds later."""
    front, send, queue, worker = (segment_id() for _ in range(4))
    return [
        {
            "name": "cruddur",
            "id": front,
            "trace_id": trace,
            "start_time": start,
            "end_time": start + 0.5,
            "error": True,
            "throttle": True,
            "http": {"request": {"method": "GET", "url": "https://cruddur.example/"}, "response": {"status": 429}},
            "cause": {"exceptions": [{"id": segment_id(), "message": "slow down", "type": "TooManyRequests"}]},
            "subsegments": [
                {
                    "name": "SQS",
                    "id": send,
                    "namespace": "aws",
                    "start_time": start + 0.1,
                    "end_time": start + 0.2,
                    "aws": {"operation": "SendMessage", "queue_url": "https://sqs.us-east-1.amazonaws.com/123456789012/messages"},
                }
            ],
        },
        {
            "name": "queue",
            "id": queue,
            "trace_id": trace,
            "parent_id": send,
            "start_time": start + 0.2,
            "end_time": start + 0.3,
            "origin": "AWS::SQS::Queue",
        },
        {
            "name": "worker",
            "id": worker,
            "trace_id": trace,
            "parent_id": queue,
            "start_time": start + 2.2,
            "end_time": start + 2.7,
            "origin": "AWS::Lambda::Function",
        },
    ]


def recovered(trace: str, start: float) -> list[dict[str, Any]]:
    """A request that was answered well although profiles failed, and although a call outside of the application was refused."""
    front, back = request(trace, start, fault=True)
    for name in ("fault", "cause"):
        del front[name]
    refused = {
        "name": "api.example",
        "id": segment_id(),
        "namespace": "remote",
        "start_time": start + 0.01,
        "end_time": start + 0.02,
        "error": True,
        "cause": {"exceptions": [{"id": segment_id(), "message": "not yours", "type": "Forbidden", "remote": True}]},
        "http": {"request": {"method": "GET", "url": "https://api.example/"}, "response": {"status": 403}},
    }
    front["subsegments"].append(refused)
    return [front, back]


def heavy(trace: str, start: float) -> list[dict[str, Any]]:
    """A trace of more than 500 KB, and of more than fits in two answers."""
    front, *_ = request(trace, start)
    parts = [
        {"name": f"part {number}", "id": segment_id(), "trace_id": trace, "parent_id": front["id"], "type": "subsegment"}
        | {"start_time": start, "end_time": start + 0.1, "metadata": {"UserData": {"text": "x" * 60_000}}}
        for number in range(140)
    ]
    return [front, *parts]


def fan_out(trace: str, start: float) -> list[dict[str, Any]]:
    """A fault in which more services take part than fit on a page of a graph."""
    documents = request(trace, start, fault=True)
    for number in range(120):
        call = {"name": f"leaf{number}.example", "id": segment_id(), "namespace": "remote", "start_time": start, "end_time": start + 0.1}
        documents[0]["subsegments"].append(call)
    return documents


def tick(trace: str, start: float) -> list[dict[str, Any]]:
    return [{"name": "clock", "id": segment_id(), "trace_id": trace, "start_time": start, "end_time": start + 0.001}]


def in_progress(trace: str, start: float) -> list[dict[str, Any]]:
    return [
        {"name": "cruddur", "id": segment_id(), "trace_id": trace, "start_time": start, "in_progress": True, "origin": "AWS::EC2::Instance"}
    ]


# -- chapters


def _put(aws: CommandLine, documents: list[dict[str, Any]]) -> None:
    for first in range(0, len(documents), 50):
        batch = [json.dumps(document) for document in documents[first : first + 50]]
        assert aws("put-trace-segments", "--trace-segment-documents", *batch) == {"UnprocessedTraceSegments": []}


def _account(story: Story, aws: CommandLine, home: Path) -> None:
    told = story.answers
    told["encryption at first"] = aws("get-encryption-config")
    key = "1234abcd-12ab-34cd-56ef-1234567890ab"
    aws("put-encryption-config", "--type", "KMS", "--key-id", key)
    aws("get-encryption-config")
    told["encryption put"] = aws("put-encryption-config", "--type", "KMS", "--key-id", "alias/xray")
    told["encryption in force"] = until(
        lambda: _if(aws("get-encryption-config"), "EncryptionConfig", "Status", "ACTIVE"), 10, "the key to be in force"
    )
    told["encryption put back"] = aws("put-encryption-config", "--type", "NONE")
    told["policy"] = aws("put-resource-policy", "--policy-name", "sns", "--policy-document", POLICY)
    told["policy again"] = aws(
        "put-resource-policy",
        "--policy-name",
        "sns",
        "--policy-document",
        POLICY | {"Id": "2"},
        "--policy-revision-id",
        told["policy"]["ResourcePolicy"]["PolicyRevisionId"],
        "--bypass-policy-lockout-check",
    )
    aws("put-resource-policy", "--policy-name", "other", "--policy-document", POLICY)
    told["policies"] = aws("list-resource-policies")
    told["policy deleted"] = aws(
        "delete-resource-policy", "--policy-name", "sns", "--policy-revision-id", told["policy again"]["ResourcePolicy"]["PolicyRevisionId"]
    )
    told["policies left"] = aws("list-resource-policies")
    told["destination"] = aws("get-trace-segment-destination")
    told["indexing rules"] = aws("get-indexing-rules")


def _if(answer: Any, *path: str) -> Any:
    at = answer
    for step in path[:-1]:
        at = at[step]
    return answer if at == path[-1] else None


def rule(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "RuleName": name,
        "Priority": 9000,
        "FixedRate": 0.1,
        "ReservoirSize": 5,
        "ServiceName": "cruddur",
        "ServiceType": "*",
        "Host": "*",
        "HTTPMethod": "*",
        "URLPath": "*",
        "ResourceARN": "*",
        "Version": 1,
    } | changes


def _rules(story: Story, aws: CommandLine, home: Path) -> None:
    told = story.answers
    file = home / "rule.json"
    file.write_text(json.dumps({"SamplingRule": rule("cruddur"), "Tags": [{"Key": "stage", "Value": "test"}]}))
    told["rule"] = aws("create-sampling-rule", "--cli-input-json", f"file://{file}")
    special = rule(
        "special",
        Priority=10,
        FixedRate=0.5,
        ReservoirSize=1,
        ServiceName="profiles",
        ServiceType="AWS::ECS::Container",
        Host="profiles.internal",
        HTTPMethod="GET",
        URLPath="/api/*",
        ResourceARN="arn:aws:ecs:*",
        Attributes={"tenant": "one"},
        SamplingRateBoost={"MaxRate": 0.9, "CooldownWindowMinutes": 5},
    )
    told["special rule"] = aws("create-sampling-rule", "--sampling-rule", special)
    update = {
        "RuleName": "special",
        "Priority": 11,
        "FixedRate": 0.6,
        "ReservoirSize": 2,
        "Host": "*.internal",
        "ServiceName": "prof*",
        "ServiceType": "*",
        "HTTPMethod": "*",
        "URLPath": "*",
        "ResourceARN": "*",
        "Attributes": {"tenant": "two"},
        "SamplingRateBoost": {"MaxRate": 0.8, "CooldownWindowMinutes": 6},
    }
    told["rule updated"] = aws("update-sampling-rule", "--sampling-rule-update", update)
    told["rule updated by ARN"] = aws(
        "update-sampling-rule",
        "--sampling-rule-update",
        {
            "RuleARN": told["rule"]["SamplingRuleRecord"]["SamplingRule"]["RuleARN"],
            "FixedRate": 0.2,
            "SamplingRateBoost": {"MaxRate": 0.5, "CooldownWindowMinutes": 1},
        },
    )
    told["rules"] = aws("get-sampling-rules")


def _traffic(story: Story, aws: CommandLine, home: Path) -> None:
    minute = story.now // 60 * 60
    documents: list[dict[str, Any]] = []
    for ago in (*CALM, *FAULTY, *CALM_AGAIN, *STILL_FAULTY):
        for number in range(REQUESTS):
            start = minute - ago * 60 + number * 4
            fault = (ago in FAULTY or ago in STILL_FAULTY) and number > 2
            documents += request(_id(start), start, fault, slow=number / 100, table=ago in FAULTY)
    makers = {
        "fault": lambda trace, start: request(trace, start, fault=True, slow=0.5),
        "error": lambda trace, start: request(trace, start, error=True, slow=0.5),
        "throttle": throttled,
        "partial": in_progress,
        "fan-out": fan_out,
        "recovered": recovered,
        "heavy": heavy,
    }
    for number, (name, maker) in enumerate(makers.items()):
        start = story.now - 100 + number
        story.traces[name] = trace = _id(start)
        documents += maker(trace, start)
    # More minutes and more traces than fit on a page.
    for ago in range(70, 70 + TICKS):
        documents += tick(_id(minute - ago * 60), minute - ago * 60)
    _put(aws, documents)
    bad = {"trace_id": story.traces["fault"], "id": "nonsense", "name": "cruddur", "start_time": 1, "end_time": 2}
    story.answers["refused documents"] = aws(
        "put-trace-segments", "--trace-segment-documents", "{", json.dumps(bad), json.dumps(bad | {"id": segment_id(), "name": ""})
    )
    record = {
        "Timestamp": story.now,
        "SegmentsReceivedCount": 5,
        "SegmentsSentCount": 4,
        "SegmentsSpilloverCount": 0,
        "SegmentsRejectedCount": 1,
        "BackendConnectionErrors": dict.fromkeys(
            ("TimeoutCount", "ConnectionRefusedCount", "HTTPCode4XXCount", "HTTPCode5XXCount", "UnknownHostCount", "OtherCount"), 1
        ),
    }
    story.answers["telemetry"] = aws(
        "put-telemetry-records",
        "--telemetry-records",
        [record],
        "--ec2-instance-id",
        "i-0",
        "--hostname",
        "host",
        "--resource-arn",
        "arn:aws:ec2:a",
    )


def _groups(story: Story, aws: CommandLine, home: Path) -> None:
    told = story.answers
    told["group"] = aws(
        "create-group",
        "--group-name",
        "cruddur",
        "--filter-expression",
        'service("cruddur")',
        "--insights-configuration",
        "InsightsEnabled=true,NotificationsEnabled=false",
        "--tags",
        "Key=stage,Value=test",
    )
    told["plain group"] = aws("create-group", "--group-name", "faults", "--filter-expression", "fault = true")
    told["group by name"] = aws("get-group", "--group-name", "cruddur")
    told["group by ARN"] = aws("get-group", "--group-arn", told["plain group"]["Group"]["GroupARN"])
    told["group updated"] = aws(
        "update-group",
        "--group-name",
        "faults",
        "--filter-expression",
        "fault",
        "--insights-configuration",
        "InsightsEnabled=true,NotificationsEnabled=true",
    )
    told["group updated by ARN"] = aws(
        "update-group", "--group-arn", told["group"]["Group"]["GroupARN"], "--filter-expression", 'service("cruddur") OR service("worker")'
    )
    told["groups"] = aws("get-groups")


def _range(story: Story, start: float, end: float = 0) -> tuple[str, ...]:
    return "--start-time", str(story.now - start), "--end-time", str(story.now - end)


def _traces(story: Story, aws: CommandLine, home: Path) -> None:
    told = story.answers
    recent = _range(story, 110)
    told["summaries"] = aws("get-trace-summaries", *_range(story, 4000))
    told["summaries of a page"] = aws("get-trace-summaries", *_range(story, 4000), "--no-paginate")
    told["summaries by event"] = aws(
        "get-trace-summaries",
        "--start-time",
        str(story.now - 60),
        "--end-time",
        str(story.now + 60),
        "--time-range-type",
        "Event",
        "--filter-expression",
        "throttle OR partial",
    )
    told["summaries by service"] = aws("get-trace-summaries", *recent, "--time-range-type", "Service", "--filter-expression", "error")
    told["summaries of faults"] = aws(
        "get-trace-summaries",
        *recent,
        "--filter-expression",
        'service("cruddur") { fault } AND annotation.tenant = "one" AND responsetime > 0.5',
    )
    told["summaries sampled"] = aws(
        "get-trace-summaries", *_range(story, 4000), "--sampling", "--sampling-strategy", "Name=FixedRate,Value=0.3"
    )
    told["all summaries"] = aws("get-trace-summaries", *_range(story, 40_000))
    aws("get-trace-summaries", *_range(story, 39_990), "--no-paginate")
    told["traces"] = aws("batch-get-traces", "--trace-ids", *list(story.traces.values())[:4], _id(1e9))
    told["more traces"] = aws("batch-get-traces", "--trace-ids", *list(story.traces.values())[4:], _id(1e9 + 1))


def _graphs(story: Story, aws: CommandLine, home: Path) -> None:
    told = story.answers
    told["graph"] = aws("get-service-graph", *_range(story, 4000))
    told["graph of a group"] = aws("get-service-graph", *_range(story, 4000), "--group-name", "faults")
    told["graph of a group by ARN"] = aws(
        "get-service-graph", *_range(story, 4000), "--group-arn", told["plain group"]["Group"]["GroupARN"]
    )
    aws("get-trace-graph", "--trace-ids", story.traces["fan-out"])
    told["graph of traces"] = aws("get-trace-graph", "--trace-ids", *story.traces.values())
    told["statistics"] = aws("get-time-series-service-statistics", *_range(story, 4000), "--period", "60")
    told["statistics of a service"] = aws(
        "get-time-series-service-statistics",
        *_range(story, 4000),
        "--period",
        "300",
        "--entity-selector-expression",
        'service("profiles")',
        "--group-name",
        "cruddur",
    )
    told["statistics of an edge"] = aws(
        "get-time-series-service-statistics",
        *_range(story, 4000),
        "--entity-selector-expression",
        'edge("cruddur", "profiles")',
        "--group-arn",
        told["group"]["Group"]["GroupARN"],
    )
    told["forecast"] = aws(
        "get-time-series-service-statistics",
        *_range(story, 4000),
        "--entity-selector-expression",
        'id(name: "profiles", type: "AWS::ECS::Container")',
        "--forecast-statistics",
    )
    told["statistics of many minutes"] = aws("get-time-series-service-statistics", *_range(story, 40_000), "--period", "60")
    aws("get-time-series-service-statistics", *_range(story, 39_990), "--period", "60", "--no-paginate")


def _insights(story: Story, aws: CommandLine, home: Path) -> None:
    told = story.answers
    span = ("--start-time", str(story.now - 4000), "--end-time", str(story.now + 60))
    told["insights"] = aws("get-insight-summaries", *span, "--group-name", "cruddur")
    told["insights by ARN"] = aws(
        "get-insight-summaries", *span, "--group-arn", told["plain group"]["Group"]["GroupARN"], "--states", "CLOSED"
    )
    aws("get-insight-summaries", *span, "--group-name", "faults", "--max-results", "1")
    told["insights of a page"] = aws("get-insight-summaries", *span, "--group-name", "cruddur", "--max-results", "1")
    told["insights of the next"] = aws(
        "get-insight-summaries",
        *span,
        "--group-name",
        "cruddur",
        "--max-results",
        "1",
        "--next-token",
        told["insights of a page"]["NextToken"],
    )
    told["insight"] = {}
    told["insight events"] = {}
    told["impact graph"] = {}
    for summary in (*told["insights by ARN"]["InsightSummaries"], *told["insights"]["InsightSummaries"]):
        state, name = summary["State"], ("--insight-id", summary["InsightId"])
        told["insight"][state] = aws("get-insight", *name)
        told["insight events"][state] = aws("get-insight-events", *name)
        page = aws("get-insight-events", *name, "--max-results", "1")
        told["insight events of the next page"] = aws("get-insight-events", *name, "--max-results", "1", "--next-token", page["NextToken"])
        page = aws("get-insight-impact-graph", *name, *_range(story, 4000))
        told["impact graph"][state] = page["Services"]
        while "NextToken" in page:
            page = aws("get-insight-impact-graph", *name, *_range(story, 4000), "--next-token", page["NextToken"])
            told["impact graph"][state] += page["Services"]


def _sampling(story: Story, aws: CommandLine, home: Path) -> None:
    told = story.answers
    client = secrets.token_hex(12)
    statistics = [
        {"RuleName": name, "ClientID": client, "Timestamp": story.now, "RequestCount": 100, "SampledCount": 20, "BorrowCount": 1}
        for name in ("cruddur", "special", "nobody", "anybody")
    ]
    statistics.append(statistics[0] | {"Timestamp": 1000})
    boosts = [
        {
            "RuleName": name,
            "ServiceName": "profiles",
            "Timestamp": story.now,
            "AnomalyCount": 8,
            "TotalCount": 100,
            "SampledAnomalyCount": 0,
        }
        for name in ("cruddur", "special", "nobody", "anybody")
    ]
    boosts.append(boosts[0] | {"Timestamp": 1000})
    told["targets"] = aws(
        "get-sampling-targets", "--sampling-statistics-documents", statistics, "--sampling-boost-statistics-documents", boosts
    )
    statistics[0] |= {"RequestCount": 50, "SampledCount": 10, "BorrowCount": 0, "Timestamp": story.now + 1}
    told["targets again"] = aws("get-sampling-targets", "--sampling-statistics-documents", statistics[:1])
    # Windows of 10 seconds, more than fit on a page.
    for first in range(0, 225, 25):
        aws(
            "get-sampling-targets",
            "--sampling-statistics-documents",
            [statistics[0] | {"Timestamp": story.now - 10 * (first + number)} for number in range(25)],
        )
    told["sampling statistics"] = aws("get-sampling-statistic-summaries")


def _retrieval(story: Story, aws: CommandLine, home: Path) -> None:
    told = story.answers
    told["destination changed"] = aws(
        "update-trace-segment-destination",
        "--destination",
        "CloudWatchLogs",
        "--cloud-watch-logs-configuration",
        {"SpansLogGroupKmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"},
    )
    told["destination in force"] = until(
        lambda: _if(aws("get-trace-segment-destination"), "Status", "ACTIVE"), 10, "the destination to change"
    )
    told["destination unchanged"] = aws("update-trace-segment-destination", "--destination", "CloudWatchLogs")
    told["indexing rule"] = aws(
        "update-indexing-rule", "--name", "Default", "--rule", {"Probabilistic": {"DesiredSamplingPercentage": 100}}
    )
    told["indexing rules changed"] = aws("get-indexing-rules")
    documents: list[dict[str, Any]] = []
    for number in range(7):
        start = story.now - 50 + number
        story.traces[f"retrieved {number}"] = trace = _id(start)
        made = fan_out(trace, start) if number == 4 else throttled(trace, start) if number % 2 else request(trace, start)
        if number:
            made[-1]["links"] = [{"trace_id": story.traces[f"retrieved {number - 1}"], "id": segment_id()}]
        documents += made
    _put(aws, documents)
    wanted = [trace for name, trace in story.traces.items() if name.startswith("retrieved")]
    token = told["retrieval"] = aws("start-trace-retrieval", "--trace-ids", *wanted, *_range(story, 600))
    name = ("--retrieval-token", token["RetrievalToken"])
    told["retrieved"] = until(lambda: _if(aws("list-retrieved-traces", *name), "RetrievalStatus", "COMPLETE"), 10, "the retrieval")
    told["retrieved next"] = aws("list-retrieved-traces", *name, "--next-token", told["retrieved"]["NextToken"])
    told["retrieved as OTEL"] = aws("list-retrieved-traces", *name, "--trace-format", "OTEL")
    told["retrieved graph"] = []
    for _ in range(2):
        page = aws("get-retrieved-traces-graph", *name)
        told["retrieved graph"] += page["Services"]
        page = aws("get-retrieved-traces-graph", *name, "--next-token", page["NextToken"])
        told["retrieved graph"] += page["Services"]
    second = aws("start-trace-retrieval", "--trace-ids", wanted[0], *_range(story, 600))
    told["retrieval cancelled"] = aws("cancel-trace-retrieval", "--retrieval-token", second["RetrievalToken"])
    told["retrieved of a cancelled one"] = aws("list-retrieved-traces", "--retrieval-token", second["RetrievalToken"])
    told["graph of a cancelled one"] = aws("get-retrieved-traces-graph", "--retrieval-token", second["RetrievalToken"])
    told["destination back"] = aws("update-trace-segment-destination", "--destination", "XRay")


def _tags(story: Story, aws: CommandLine, home: Path) -> None:
    told = story.answers
    arn = ("--resource-arn", told["group"]["Group"]["GroupARN"])
    rule_arn = ("--resource-arn", told["rule"]["SamplingRuleRecord"]["SamplingRule"]["RuleARN"])
    told["tags at first"] = aws("list-tags-for-resource", *arn)
    told["tagged"] = aws("tag-resource", *arn, "--tags", "Key=owner,Value=ada", "Key=empty,Value=")
    told["tags of the group"] = aws("list-tags-for-resource", *arn)
    told["untagged"] = aws("untag-resource", *arn, "--tag-keys", "stage", "empty")
    told["tags left"] = aws("list-tags-for-resource", *arn)
    told["tags of the rule"] = aws("list-tags-for-resource", *rule_arn)


def _end(story: Story, aws: CommandLine, home: Path) -> None:
    told = story.answers
    told["rule deleted"] = aws("delete-sampling-rule", "--rule-name", "special")
    told["rule deleted by ARN"] = aws("delete-sampling-rule", "--rule-arn", told["rule"]["SamplingRuleRecord"]["SamplingRule"]["RuleARN"])
    told["rules left"] = aws("get-sampling-rules")
    told["group deleted"] = aws("delete-group", "--group-name", "faults")
    told["group deleted by ARN"] = aws("delete-group", "--group-arn", told["group"]["Group"]["GroupARN"])
    told["groups left"] = aws("get-groups")


def every_path(operation: str, side: str) -> Iterator[tuple[str, Any]]:
    """Every member of an operation's ``input`` or ``output``, at every depth: its path, as :class:`Members` has it, and its shape."""
    shape = getattr(model("xray", operation), f"{side}_shape")
    if shape is not None:
        yield from _paths(shape, "")


def _paths(shape: Any, path: str) -> Iterator[tuple[str, Any]]:
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            inner = f"{path}.{name}" if path else name
            yield inner, member
            yield from _paths(member, inner)
    elif shape.type_name == "list":
        if shape.member.type_name not in ("structure", "list", "map"):
            yield f"{path}[]", shape.member
        yield from _paths(shape.member, f"{path}[]")
    elif shape.type_name == "map":
        if shape.value.type_name not in ("structure", "list", "map"):
            yield f"{path}{{}}", shape.value
        yield from _paths(shape.value, f"{path}{{}}")
