"""Requests to X-Ray, valid and broken, generated from the input shapes of botocore's service model.

``valid(operation, world)`` makes a minimal and a full request of an operation; ``broken(operation, world)`` yields the full one,
again and again, with one thing wrong with it: every member at every depth, and the body as a whole.
"""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tests.api.aws_answers import model, service_model
from tests.api.aws_clients import segment_id, trace_id

OPERATIONS: tuple[str, ...] = tuple(service_model("xray").operation_names)

#: Operations that take away what others need, tried last.
LAST = ("CancelTraceRetrieval", "DeleteGroup", "DeleteResourcePolicy", "DeleteSamplingRule")

POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "xray:PutTraceSegments", "Resource": "*"}],
    }
)


@dataclass
class World:
    """What exists before the requests are made, for them to name."""

    trace: str
    group: str
    group_arn: str
    rule: str
    policy: str
    retrieval: str
    insight: str
    now: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Case:
    """One broken request. ``refused``: it must be; otherwise AWS may ignore what is odd about it, and only must not fail itself."""

    what: str
    body: bytes
    refused: bool
    headers: tuple[tuple[str, str], ...] = ()


def _known(world: World) -> dict[str, Any]:
    """Values that a name of a member alone does not give, by ``Operation.member`` or ``member``, whichever is found first."""
    return {
        "StartTime": world.now - 600,
        "EndTime": world.now,
        "Timestamp": world.now,
        "TraceIds": [world.trace],
        "InsightId": world.insight,
        "RetrievalToken": world.retrieval,
        "GroupName": world.group,
        "GroupARN": world.group_arn,
        "FilterExpression": 'service("Cruddur") AND responsetime >= 0',
        "EntitySelectorExpression": 'service("Cruddur")',
        "Period": 60,
        "SamplingStrategy": {"Name": "PartialScan", "Value": 1.0},
        "TraceSegmentDocuments": [
            json.dumps(
                {"name": "Cruddur", "id": "70de5b6f19ff9a0a", "trace_id": trace_id(), "start_time": world.now - 1, "end_time": world.now}
            )
        ],
        "CreateGroup.GroupName": f"valid {time.monotonic_ns()}"[:32],
        "CreateGroup.InsightsConfiguration": {"InsightsEnabled": True, "NotificationsEnabled": True},
        "UpdateGroup.InsightsConfiguration": {"InsightsEnabled": True, "NotificationsEnabled": False},
        "SamplingRule.RuleName": f"valid {time.monotonic_ns()}"[:32],
        "SamplingRule.Version": 1,
        "RuleName": world.rule,
        "ClientID": "0123456789abcdef01234567",
        "ResourceARN": "*",
        "TagResource.ResourceARN": world.group_arn,
        "UntagResource.ResourceARN": world.group_arn,
        "ListTagsForResource.ResourceARN": world.group_arn,
        "PolicyName": world.policy,
        "PolicyDocument": POLICY,
        "Type": "NONE",
        "Destination": "XRay",
        "Name": "Default",
        "DesiredSamplingPercentage": 5.0,
        "ErrorCode": "none",
    }


#: Members that are left out of a valid request: a page that there is none of, the other one of two names, and what would not fit the rest.
_LEFT_OUT = {
    "NextToken",
    "RuleARN",
    "PolicyRevisionId",
    "ForecastStatistics",
    "PutEncryptionConfig.KeyId",
    "UpdateTraceSegmentDestination.CloudWatchLogsConfiguration",
    "SamplingBoostStatisticsDocuments",
}
#: Where either a name or an ARN is taken, the name.
_ARN_TOO = {"GetGroup", "UpdateGroup", "DeleteGroup", "GetServiceGraph", "GetTimeSeriesServiceStatistics", "GetInsightSummaries"}


def valid(operation: str, world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request with what is required and one with all that goes together."""
    full = _structure(operation, _input(operation), world, operation)
    minimal = {name: full[name] for name in full if name in _input(operation).required_members or name in _NEEDED.get(operation, ())}
    return minimal, full


#: What the model does not require but the operation does: one of two.
_NEEDED = {
    "GetGroup": ("GroupName",),
    "UpdateGroup": ("GroupName",),
    "DeleteGroup": ("GroupName",),
    "DeleteSamplingRule": ("RuleName",),
    "GetInsightSummaries": ("GroupName",),
    "UpdateTraceSegmentDestination": ("Destination",),
}


def _input(operation: str) -> Any:
    return model("xray", operation).input_shape


def _structure(operation: str, shape: Any, world: World, context: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, member in shape.members.items():
        if {name, f"{operation}.{name}"} & _LEFT_OUT or (name == "GroupARN" and operation in _ARN_TOO):
            continue
        made[name] = _example(operation, member, name, world, context)
    return made


def _example(operation: str, shape: Any, name: str, world: World, context: str) -> Any:
    known = _known(world)
    for key in (f"{context}.{name}", name):
        if key in known:
            return deepcopy(known[key])
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        return _structure(operation, shape, world, shape.name if shape.name in ("SamplingRule",) else context)
    if kind == "list":
        return [_example(operation, shape.member, "", world, context)]
    if kind == "map":
        return {"key": _example(operation, shape.value, "", world, context)}
    if kind == "string":
        return limits["enum"][0] if "enum" in limits else "a" * max(1, min(limits.get("min", 1), limits.get("max", 1)))
    if kind == "boolean":
        return False
    low = limits.get("min", 0)
    return world.now if kind == "timestamp" else max(low, min(1, limits.get("max", 1)))


# -- broken ones

#: Stands in a request for text that json.dumps would not write.
_RAW = "\x01raw\x01"


class _Raw:
    def __init__(self, text: str) -> None:
        self.text = text


def _dumps(request: Any) -> bytes:
    raws: list[str] = []

    def put_by(value: Any) -> str:
        raws.append(value.text)
        return _RAW

    text = json.dumps(request, default=put_by)
    for raw in raws:
        text = text.replace(json.dumps(_RAW), raw, 1)
    return text.encode("utf-8", "surrogatepass")


_ABSENT = object()

#: A value of each type JSON has, by the kinds of shapes that take it.
_TYPES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "a string": ("text", ("string",)),
    "an empty string": ("", ("string",)),
    "a number as text": ("1", ("string",)),
    "an integer": (1, ("integer", "long", "double", "float", "timestamp")),
    "a fraction": (0.5, ("double", "float", "timestamp")),
    "true": (True, ("boolean",)),
    "false": (False, ("boolean",)),
    "an empty list": ([], ("list",)),
    "a list": ([1, "a"], ()),
    "a list of null": ([None], ()),
    "an empty object": ({}, ("structure", "map")),
    "an object": ({"a": {"b": 1}}, ("structure",)),
}

#: What is no JSON, or none that any member could take.
_NEVER = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "1e400": "1e400",
    "-1e400": "-1e400",
    "a hexadecimal number": "0x10",
    "a leading zero": "01",
    "nothing": "",
    "a lone surrogate": '"\\ud800"',
    "a raw control character": '"a\nb"',
    "a nest too deep": "[" * 3000 + "]" * 3000,
    "a deep nest of objects": '{"a":' * 900 + "1" + "}" * 900,
    "a cut string": '"abc',
    "a wrong escape": '"\\x41"',
    "bytes that are no UTF-8": '"\udcff"',
}

_ODD_STRINGS = {
    "NUL": "a\x00b",
    "control characters": "\x01\x02\x1b\x7f\r\n\t",
    "a text of 100 KB": "x" * 100_000,
    "quotes and SQL": "'; DROP TABLE segment; --\"\\",
    "wildcards": "%_*?[]{}()",
    "other planes": "\U0001f600é\u202e\ufeff\uffff",
    "spaces": "   ",
}


def _values(shape: Any) -> Iterator[tuple[str, Any, bool]]:
    """What to put in the place of a value of ``shape``: what it is, the value, whether that must be refused."""
    kind, limits = shape.type_name, shape.metadata
    for what, (value, kinds) in _TYPES.items():
        if kind not in kinds:
            yield what, value, True
    for what, text in _NEVER.items():
        # An unknown member may hold any JSON.
        if not (what == "a deep nest of objects" and kind in ("structure", "map")):
            yield what, _Raw(text), True
    if kind == "string":
        low, high = limits.get("min", 0), limits.get("max")
        closed = "enum" in limits or "pattern" in limits
        if low:
            yield "too short a text", "a" * (low - 1), True
        if high is not None:
            yield "too long a text", "a" * (high + 1), True
            yield "far too long a text", "a" * (high + 1000), True
        for what, text in _ODD_STRINGS.items():
            yield what, text, closed or (high is not None and len(text) > high) or len(text) < low
        if "enum" in limits:
            yield "no word of the enum", "nonsense", True
            yield "a word of the enum in other case", limits["enum"][0].swapcase(), True
    elif kind in ("integer", "long"):
        bits = 31 if kind == "integer" else 63
        for value in (2**bits, -(2**bits) - 1, 2**70, -(2**70)):
            yield str(value), value, True
        yield "an exponent", _Raw("1e2"), True
        for value in (2**bits - 1, -(2**bits), 0, -1):
            yield str(value), value, not limits.get("min", value) <= value <= limits.get("max", value)
    elif kind in ("double", "float"):
        for value in (-1.0, -0.0, 1e-320, 1e308, -1e308, 2**70, limits.get("max", 0) + 0.001, limits.get("min", 0) - 0.001):
            yield str(value), value, not limits.get("min", value) <= value <= limits.get("max", value)
    elif kind == "timestamp":
        for value in (1e300, -1e300, 2**70, 1e15):
            yield str(value), value, True
        for value in (0, -1, 1e-9, 253402300799, 9e10, 1e12):
            yield str(value), value, False
        yield "an ISO date", "2026-01-01T00:00:00Z", True
    elif kind == "list":
        yield "10,000 nulls", [None] * 10_000, True
        if limits.get("min"):
            yield "an empty list", [], True
        if shape.member.type_name == "string":
            yield "10,000 texts", ["a"] * 10_000, limits.get("max", 10_000) < 10_000
            yield "10,000 empty texts", [""] * 10_000, bool(shape.member.metadata.get("min")) or limits.get("max", 10_000) < 10_000
        else:
            yield "10,000 empty objects", [{}] * 10_000, bool(shape.member.required_members) or limits.get("max", 10_000) < 10_000
    elif kind == "map":
        yield "10,000 entries", {f"k{number}": "v" for number in range(10_000)}, limits.get("max", 10_000) < 10_000
        yield "a value of null", {"a": None}, True
        yield "a value of the wrong type", {"a": 5}, True
        yield "an empty key", {"": "v"}, bool(shape.key.metadata.get("min"))
    elif kind == "structure" and limits.get("union"):
        yield "no member of a union", {}, True


def _places(
    operation: str, shape: Any, world: World, path: tuple[Any, ...], required: bool, context: str
) -> Iterator[tuple[tuple[Any, ...], Any, bool]]:
    """Every place of a request: its path, its shape, whether the model requires it."""
    yield path, shape, required
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield from _places(operation, member, world, (*path, name), name in shape.required_members, context)
    elif shape.type_name == "list":
        yield from _places(operation, shape.member, world, (*path, 0), False, context)
    elif shape.type_name == "map":
        yield from _places(operation, shape.value, world, (*path, "key"), False, context)


def _put(operation: str, world: World, request: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """``request`` with ``value`` at ``path``; what is missing on the way there is made."""
    changed = deepcopy(request)
    at: Any = changed
    shape = _input(operation)
    for step in path[:-1]:
        shape = shape.members[step] if shape.type_name == "structure" else shape.member if shape.type_name == "list" else shape.value
        if isinstance(at, dict) and step not in at:
            at[step] = _example(operation, shape, step, world, operation)
        at = at[step]
    if value is _ABSENT:
        at.pop(path[-1], None)
    else:
        at[path[-1]] = value
    return changed


def broken(operation: str, world: World) -> Iterator[Case]:
    """Every broken request of an operation."""
    minimal, full = valid(operation, world)
    yield from _broken_bodies(full)
    for path, shape, required in _places(operation, _input(operation), world, (), False, operation):
        if not path:
            continue
        where = ".".join(map(str, path))
        if required:
            yield Case(f"{where} is absent", _dumps(_put(operation, world, full, path, _ABSENT)), True)
        in_list = path[-1] in (0, "key")
        yield Case(f"{where} is null", _dumps(_put(operation, world, full, path, None)), required or in_list)
        for what, value, refused in _values(shape):
            if what == "nothing" and path[-1] == 0:
                continue  # [] is a list
            yield Case(f"{where} is {what}", _dumps(_put(operation, world, full, path, value)), refused)
        if shape.type_name == "structure":
            unknown = {"Unknown": 1, "unknown": [None, {"a": "b"}], "\x00": "", "__type": "x"}
            yield Case(f"{where} has unknown members", _dumps(_put(operation, world, full, path, _at(full, path) | unknown)), False)
    unknown = {"Unknown": _Raw("[" * 900 + "]" * 900), "": None, "a" * 10_000: {}}
    yield Case("unknown members", _dumps(full | unknown), False)
    for name in minimal:
        twice = _dumps(full).decode()[:-1] + f', "{name}": [[]]}}'
        yield Case(f"{name} twice, wrong the second time", twice.encode(), True)
    if "NextToken" in _input(operation).members:
        yield Case("a page of nothing", _dumps(full | {"NextToken": "nonsense"}), True)
        # base64 of [1], of a token's form
        yield Case("a page of something else", _dumps(full | {"NextToken": "WzFd"}), True)
    for what, changes in SENSELESS.get(operation, {}).items():
        yield Case(what, _dumps({key: value for key, value in (full | changes).items() if value is not _ABSENT}), True)


def _at(request: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    at: Any = request
    for step in path:
        if isinstance(at, dict) and step not in at:
            return {}
        at = at[step]
    return dict(at)


def _broken_bodies(full: dict[str, Any]) -> Iterator[Case]:
    whole = json.dumps(full).encode()
    for body in (b"{", b"[]", b"5", b"null", b"true", b'"x"', b"\xff\xfe", b"{}{}", b"\x00", b"{'a': 1}", b'{"a": NaN}', b"[" * 5000, b" "):
        yield Case(f"the body is {body[:10]!r}", body, True)
    yield Case("the body is cut", whole[:-1], True)
    yield Case("the body is UTF-16", whole.decode().encode("utf-16"), True)
    packed = gzip.compress(whole)
    zipped = (("Content-Encoding", "gzip"),)
    yield Case("the body is gzip, cut", packed[:-5], True, zipped)
    yield Case("the body is gzip, damaged", packed[:12] + b"\x00\x00" + packed[14:], True, zipped)
    yield Case("the body is no gzip", whole, True, zipped)
    yield Case("the body is in an unknown encoding", whole, True, (("Content-Encoding", "br"),))
    yield Case("the body is XML", b"<a/>", True, (("Content-Type", "text/xml"),))


#: Values that a field of a segment document may have and should not, or may have and seldom has.
_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 2**70, -(2**63), 0.5, -0.0, 1e-320, 1e308, 1e300, "", "0", "a", "null", "true", "1.5",
    "a\x00b", "\x00", "\U0001f600", "\u202e\ufeff", "x" * 20_000, "'; DROP TABLE segment; --", "$.a", "70de5b6f19ff9a0a",
    [], [None], [1, "a", {}], [[]], {}, {"": ""}, {"a": None}, {"a": {"b": [1]}}, {"$.x['\"]": 1}, {"\x00": "\x00"}, {"id": "a"},
)  # fmt: skip

#: Fields of a segment document, as "AWS X-Ray segment documents" of the developer guide has them.
_FIELDS = """
name id trace_id parent_id type start_time end_time in_progress user origin namespace resource_arn error throttle fault
precursor_ids links inferred metadata metadata.default annotations annotations.key service service.version service.name http
http.request http.request.method http.request.url http.request.user_agent http.request.client_ip http.request.x_forwarded_for
http.request.traced http.response http.response.status http.response.content_length aws aws.account_id aws.operation
aws.region aws.request_id aws.queue_url aws.table_name aws.table_names aws.resource_names aws.bucket_name aws.function_name
aws.ec2 aws.ec2.instance_id aws.ec2.availability_zone aws.ecs aws.ecs.container aws.elastic_beanstalk sql sql.url
sql.sanitized_query cause cause.working_directory cause.paths cause.exceptions cause.exceptions.0 cause.exceptions.0.id
cause.exceptions.0.message cause.exceptions.0.type cause.exceptions.0.remote cause.exceptions.0.stack cause.exceptions.0.cause
subsegments subsegments.0
"""


def odd_documents(start: float) -> Iterator[str]:
    """Segment documents with one field that is odd, by turns in the segment and in its subsegment; each a trace of its own."""
    for number, (path, value) in enumerate(itertools.product(_FIELDS.split(), _ODD_VALUES)):
        document = _whole_document(start)
        at: Any = document["subsegments"][0] if number % 2 else document
        *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
        for step in steps:
            at = at[step]
        at[last] = value
        yield json.dumps(document)


def _whole_document(start: float) -> dict[str, Any]:
    def entity() -> dict[str, Any]:
        cause = {"working_directory": "/", "paths": [], "exceptions": [{"id": segment_id(), "message": "m", "type": "T"}]}
        return {
            "name": "odd",
            "id": segment_id(),
            "start_time": start,
            "end_time": start + 0.1,
            "fault": True,
            "annotations": {"key": "value"},
            "metadata": {"default": {}},
            "service": {"version": "1"},
            "http": {"request": {"method": "GET", "url": "http://odd/"}, "response": {"status": 500}},
            "aws": {"account_id": "123456789012", "operation": "GetItem", "ec2": {}, "ecs": {}},
            "sql": {"url": "jdbc:postgresql://db/x"},
            "cause": cause,
        }

    inner = entity() | {"name": "called", "namespace": "remote", "subsegments": [entity() | {"name": "DynamoDB", "namespace": "aws"}]}
    return entity() | {"trace_id": trace_id(), "origin": "AWS::EC2::Instance", "user": "ada", "subsegments": [inner]}


_YEAR = 365 * 86400.0
_LATE = {"StartTime": 2000.0, "EndTime": 1000.0}
_FUTURE = {"StartTime": time.time() + _YEAR, "EndTime": time.time() + _YEAR + 60}

#: Requests that the model allows and that make no sense: what is wrong with them, and what is changed.
SENSELESS: dict[str, dict[str, dict[str, Any]]] = {
    "BatchGetTraces": {
        "an id of another form": {"TraceIds": ["nonsense"]},
        "six ids": {"TraceIds": [f"1-{number:08x}-{number:024x}" for number in range(6)]},
    },
    "CancelTraceRetrieval": {"an unknown retrieval": {"RetrievalToken": "nonsense"}, "no retrieval": {"RetrievalToken": ""}},
    "CreateGroup": {
        "an expression that is none": {"FilterExpression": "((("},
        "notifications without insights": {"InsightsConfiguration": {"NotificationsEnabled": True}},
        "a group that exists": {"GroupName": "Default"},
    },
    "DeleteGroup": {
        "the default group": {"GroupName": "Default"},
        "an unknown group": {"GroupName": "nobody"},
        "no group": {"GroupName": _ABSENT},
        "a name and an ARN": {"GroupARN": "arn:aws:xray:us-east-1:123456789012:group/a"},
    },
    "DeleteResourcePolicy": {"another revision": {"PolicyRevisionId": "99"}},
    "DeleteSamplingRule": {
        "the default rule": {"RuleName": "Default"},
        "an unknown rule": {"RuleName": "nobody"},
        "no rule": {"RuleName": _ABSENT},
    },
    "GetGroup": {"an unknown group": {"GroupName": "nobody"}, "no group": {"GroupName": _ABSENT}},
    "GetInsight": {"an unknown insight": {"InsightId": "00000000-0000-4000-8000-000000000000"}},
    "GetInsightEvents": {
        "an unknown insight": {"InsightId": "00000000-0000-4000-8000-000000000000"},
    },
    "GetInsightImpactGraph": {
        "an unknown insight": {"InsightId": "00000000-0000-4000-8000-000000000000"},
        "an end before its start": _LATE,
    },
    "GetInsightSummaries": {
        "an end before its start": _LATE,
        "an unknown group": {"GroupName": "nobody"},
    },
    "GetRetrievedTracesGraph": {"an unknown retrieval": {"RetrievalToken": "nonsense"}},
    "GetServiceGraph": {
        "an end before its start": _LATE,
        "a year": {"StartTime": 0.0},
        "an unknown group": {"GroupName": "nobody"},
    },
    "GetTimeSeriesServiceStatistics": {
        "an end before its start": _LATE,
        "an unknown group": {"GroupName": "nobody"},
        "a period that is none": {"Period": 61},
        "no period": {"Period": 0},
        "an expression that is none": {"EntitySelectorExpression": "((("},
    },
    "GetTraceGraph": {"an id of another form": {"TraceIds": ["nonsense"]}},
    "GetTraceSummaries": {
        "an end before its start": _LATE,
        "two days": {"StartTime": time.time() - 2 * 86400},
        "an expression that is none": {"FilterExpression": "service( {"},
        "an unknown keyword": {"FilterExpression": "nonsense = 5"},
        "a rate that is none": {"Sampling": True, "SamplingStrategy": {"Name": "FixedRate", "Value": 7.0}},
    },
    "ListRetrievedTraces": {"an unknown retrieval": {"RetrievalToken": "nonsense"}},
    "ListTagsForResource": {"an unknown resource": {"ResourceARN": "arn:aws:xray:us-east-1:123456789012:group/nobody/A"}},
    "PutEncryptionConfig": {"a key without KMS": {"Type": "NONE", "KeyId": "alias/a"}, "KMS without a key": {"Type": "KMS"}},
    "PutResourcePolicy": {
        "a document that is no JSON": {"PolicyDocument": "{"},
        "a document that is no policy": {"PolicyDocument": "[]"},
        "a document without a statement": {"PolicyDocument": "{}"},
        "a document of 6 KB": {"PolicyDocument": POLICY + " " * 6000},
        "another revision": {"PolicyRevisionId": "99"},
    },
    "PutTraceSegments": {"51 documents": {"TraceSegmentDocuments": ["{}"] * 51}},
    "StartTraceRetrieval": {"an end before its start": _LATE, "an id of another form": {"TraceIds": ["nonsense"]}},
    "TagResource": {
        "an unknown resource": {"ResourceARN": "nonsense"},
        "more tags than 50": {"Tags": [{"Key": f"k{number}", "Value": ""} for number in range(60)]},
    },
    "UntagResource": {"an unknown resource": {"ResourceARN": "nonsense"}},
    "UpdateGroup": {
        "an unknown group": {"GroupName": "nobody"},
        "no group": {"GroupName": _ABSENT},
        "an expression that is none": {"FilterExpression": "service("},
    },
    "UpdateIndexingRule": {
        "an unknown rule": {"Name": "nobody"},
        "more than everything": {"Rule": {"Probabilistic": {"DesiredSamplingPercentage": 101}}},
        "less than nothing": {"Rule": {"Probabilistic": {"DesiredSamplingPercentage": -1}}},
    },
    "UpdateSamplingRule": {
        "an unknown rule": {"SamplingRuleUpdate": {"RuleName": "nobody", "FixedRate": 0.5}},
        "no rule": {"SamplingRuleUpdate": {"FixedRate": 0.5}},
        "a rate above 1": {"SamplingRuleUpdate": {"RuleName": "Default", "FixedRate": 1.5}},
        "less than nothing": {"SamplingRuleUpdate": {"RuleName": "Default", "ReservoirSize": -1}},
    },
}
