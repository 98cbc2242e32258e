"""What X-Ray knows of one trace: its service nodes, the edges between them, annotations and exceptions. Pure.

Two ways lead to these facts and a property test holds them against each other: :func:`facts` derives them from the documents of
one trace in Python, for what looks at a page of traces; ``index`` derives the same in SQL for all of them, for what looks
through many. Filter expressions, graphs and statistics are defined on these facts alone.

The rules, where the developer guide leaves them open, are ours:

- A trace is the documents :func:`localstack.aws.xray.traces.assembly.assemble` puts together. A *segment* is a document whose ``type``
  is not ``subsegment``; an *entity* is a segment or a subsegment, wherever it was sent. The *owner* of a subsegment is the
  segment it is (directly or not) part of; a subsegment whose parent has not arrived has none, and neither makes nodes nor edges.
- A segment is a **node**: Name is its name, Type its ``origin``, AccountId ``aws.account_id``.
- A subsegment with ``namespace`` ``remote`` or ``aws`` and an owner is a call. Where segments of the trace name it as their parent, those
  are what was called; where none does, it makes an **inferred** node of its own ("inferred segments": services that do not send
  their own). Its name and type are given by :func:`inferred_service`.
- An **edge** leads from the owner of a segment's parent to that segment (``via``: the parent, where that is a subsegment), from the
  owner of a call to the node inferred of it (``via``: the call), and from the client (``source`` None) to each segment whose parent
  is absent or not in the trace: an *entry*. What an edge took and how it ended is the caller's view, the ``via`` subsegment's,
  where there is one that is a call; else the called segment's own. Its ``alias`` is what the caller took the called segment for: the
  service inferred of such a call (name and type; no account). None where ``via`` is no call, and where the target is inferred itself.
- The trace's **root** is its earliest entry by (start_time, id); where segments are each other's parents, the earliest segment.
- ``ok`` is: complete, and none of error, fault, throttle. The flags are the documents' own; they are not made of status codes.
- An inferred node has the call's name, type, times, flags and ``http``; user, availability zone, instance and ARN are a segment's own.
- Where an id stands twice in a trace, a segment has it before a subsegment, and an earlier one before a later.
- Times are epoch seconds. Ids are 16 lower-case hexadecimal digits. A documented field with a value of another type than the
  documentation's counts as absent.
- The trace's start and end go over all its documents (an embedded subsegment lies within its own by definition).
- **Annotations** are those of all entities that are strings, numbers or booleans; ``node`` is the owner (None: no owner yet).
  Of one trace at most :data:`MAX_ANNOTATIONS` count, ordered by (start_time of the entity, id of the entity, position in the document).
- **Exceptions** are the elements of ``cause.exceptions`` of all entities.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from localstack.aws.xray.traces.documents import StoredDocument
from localstack.aws.xray.traces.entities import Entities, Entity, entities

#: "X-Ray indexes up to 50 annotations per trace".
MAX_ANNOTATIONS = 50

#: Type of what a call to a SQL database leads to: a subsegment with an object ``sql`` and the namespace ``remote``.
DATABASE_TYPE = "Database::SQL"
#: Type of "a downstream service of indeterminate type", as the API reference of Service has it: any other remote call.
REMOTE_TYPE = "remote"
#: What the type of a call to AWS begins with that says of no resource: ``AWS::DynamoDB`` "for downstream calls to Amazon DynamoDB
#: that didn't target a specific table".
AWS_PREFIX = "AWS::"


class Resource(NamedTuple):
    """A member of a subsegment's block ``aws`` that says which resource was called.

    The node's name is the first group of ``name``, a regular expression that Python's re and DuckDB's RE2 read alike, and is
    searched in the member; where it is not found the member counts as absent.
    """

    member: str
    type: str
    name: str


#: In this order. Names and types of segments that X-Ray infers are shown by "Getting data from AWS X-Ray" for a table
#: (AWS::DynamoDB::Table), a topic (AWS::SNS) and a function (AWS::Lambda, which a traced function's own segment has too) and in
#: BatchGetTraces of real traces for a bucket (AWS::S3::Bucket); the queue's type is that of CloudFormation. That a queue's, a topic's
#: and a function's node goes by the bare name, not by URL and ARN, is ours.
RESOURCES = (
    Resource("table_name", "AWS::DynamoDB::Table", r"(?s)^(.+)$"),
    Resource("bucket_name", "AWS::S3::Bucket", r"(?s)^(.+)$"),
    Resource("queue_url", "AWS::SQS::Queue", r"([^/]+)$"),
    Resource("queue_name", "AWS::SQS::Queue", r"(?s)^(.+)$"),
    Resource("topic_arn", "AWS::SNS", r"([^:]+)$"),
    # A name, name:qualifier, account:function:name or a whole ARN.
    Resource("function_name", "AWS::Lambda", r"(?:^|:function:)([^:]+)(?::[^:]*)?$"),
)

#: How AWS writes its services, by how botocore's clients, and so subsegments of the X-Ray SDK for Python, write them. Of any other
#: the type has the subsegment's name as it stands.
SERVICES = {
    "apigateway": "ApiGateway",
    "athena": "Athena",
    "dynamodb": "DynamoDB",
    "events": "Events",
    "firehose": "Firehose",
    "kinesis": "Kinesis",
    "kms": "KMS",
    "lambda": "Lambda",
    "logs": "Logs",
    "s3": "S3",
    "secretsmanager": "SecretsManager",
    "ses": "SES",
    "sns": "SNS",
    "sqs": "SQS",
    "ssm": "SSM",
    "stepfunctions": "StepFunctions",
    "sts": "STS",
}

#: What fits a 32-bit integer, as the members of the API that hold a status do.
_MAX_STATUS = 2**31


@dataclass(frozen=True, slots=True)
class Service:
    """What identifies a node beyond one trace. ``type`` and ``account_id`` None: the segment says nothing of it."""

    name: str
    type: str | None = None
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class Flags:
    ok: bool
    error: bool
    fault: bool
    throttle: bool


@dataclass(frozen=True, slots=True)
class Http:
    """The block ``http`` of an entity; None for what it does not say."""

    url: str | None = None
    method: str | None = None
    status: int | None = None
    useragent: str | None = None
    clientip: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A service's part in a trace. ``id``: the segment's, or for an inferred node the call's.

    ``work_end``: when the last of the segment and its subsegments ended, which can be after the response; None until the segment has.
    """

    id: str
    service: Service
    inferred: bool
    entry: bool
    start_time: float
    end_time: float | None
    flags: Flags
    http: Http
    user: str | None
    availability_zone: str | None
    instance_id: str | None
    resource_arn: str | None
    work_end: float | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """A call from node ``source`` (None: the client) to node ``target``, both by id. Times and flags: see the module."""

    source: str | None
    target: str
    via: str | None
    start_time: float
    end_time: float | None
    flags: Flags
    alias: Service | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    node: str | None
    key: str
    value: str | bool | float


@dataclass(frozen=True, slots=True)
class Failure:
    """One exception of an entity. ``name``: its ``type``, as "name of a service or exception" has it."""

    node: str | None
    entity: str
    name: str | None
    message: str | None
    remote: bool


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """All of one trace. ``root``: the id of the root segment; None where only subsegments have arrived.

    ``response_time`` is the root's; ``error``, ``fault``, ``ok`` are the root's, ``throttle`` is any segment's; ``partial``: a document
    is in progress.
    """

    trace_id: str
    start_time: float
    end_time: float
    root: str | None
    response_time: float | None
    flags: Flags
    partial: bool
    http: Http
    nodes: tuple[Node, ...] = field(default=())
    edges: tuple[Edge, ...] = field(default=())
    annotations: tuple[Annotation, ...] = field(default=())
    failures: tuple[Failure, ...] = field(default=())

    @property
    def duration(self) -> float:
        """Seconds from the earliest start to the latest end of all documents."""
        return max(self.end_time - self.start_time, 0.0)


def facts(trace_id: str, documents: Sequence[StoredDocument]) -> TraceFacts:
    """The facts of one trace; ``documents``: all of it, at least one."""
    return derive(trace_id, entities(documents))


def derive(trace_id: str, found: Entities, calls: bool = True) -> TraceFacts:
    """As :func:`facts`, for a trace whose entities are at hand; without edges and failures, where ``calls`` is false."""
    stored = [part for tree in found.trees for part in tree.parts]
    start = min(document.start_time for document in stored)
    root = found.root
    flags = _flags(root) if root is not None else _NOT_OK
    throttled = any(segment.fields.get("throttle") is True for segment in found.segments)
    return TraceFacts(
        trace_id=trace_id,
        start_time=start,
        end_time=max((document.end_time for document in stored if document.end_time is not None), default=start),
        root=root.id if root is not None else None,
        response_time=max(root.end_time - root.start_time, 0.0) if root is not None and root.end_time is not None else None,
        flags=_FLAGS[flags.ok, flags.error, flags.fault, throttled],
        partial=any(document.end_time is None for document in stored),
        http=_http(root) if root is not None else _NO_HTTP,
        nodes=tuple(_nodes(found)),
        edges=tuple(_edges(found)) if calls else (),
        annotations=_annotations(found),
        failures=tuple(_failures(found)) if calls else (),
    )


def service_of(entity: Entity) -> Service:
    """The node of a segment, or the one inferred of a call."""
    if entity.segment:
        return Service(entity.name, _text(entity.fields, "origin"), _account(entity.fields))
    return inferred_service(entity.fields)


def inferred_service(subsegment: Mapping[str, Any]) -> Service:
    """What a call leads to, as far as the caller's subsegment says."""
    name: str = subsegment["name"]
    account = _account(subsegment)
    if subsegment.get("namespace") == "aws":
        aws = subsegment.get("aws")
        if isinstance(aws, dict):
            for member, kind, pattern in _RESOURCES:
                value = aws.get(member)
                resource = pattern.search(value) if isinstance(value, str) else None
                if resource is not None:
                    return Service(resource[1], kind, account)
        return Service(name, AWS_PREFIX + SERVICES.get(name.lower(), name), account)
    return Service(name, DATABASE_TYPE if isinstance(subsegment.get("sql"), dict) else REMOTE_TYPE, account)


_RESOURCES = [(resource.member, resource.type, re.compile(resource.name)) for resource in RESOURCES]


def _nodes(found: Entities) -> Iterator[Node]:
    last: dict[str, float] = {}
    for entity in found.all:
        if entity.owner is not None and entity.end_time is not None:
            last[entity.owner.id] = max(last.get(entity.owner.id, entity.end_time), entity.end_time)
    for entity in sorted((entity for entity in found.all if entity.segment or entity.is_inferred_call), key=_order):
        inferred = not entity.segment
        aws = _block(entity.fields, "aws")
        ec2 = _block(aws, "ec2")
        yield Node(
            entity.id,
            service_of(entity),
            inferred,
            entity.segment and entity.parent is None,
            entity.start_time,
            entity.end_time,
            _flags(entity),
            _http(entity),
            None if inferred else _text(entity.fields, "user"),
            None if inferred else _text(ec2, "availability_zone"),
            None if inferred else _text(ec2, "instance_id"),
            None if inferred else _text(entity.fields, "resource_arn"),
            entity.end_time if inferred or entity.end_time is None else last[entity.id],
        )


def _edges(found: Entities) -> Iterator[Edge]:
    for entity in found.all:
        if entity.segment:
            edge = _edge_to(entity)
            if edge is not None:
                yield edge
        elif entity.is_inferred_call and entity.owner is not None:
            yield Edge(entity.owner.id, entity.id, entity.id, entity.start_time, entity.end_time, _flags(entity))


def _edge_to(segment: Entity) -> Edge | None:
    """The edge that leads to a segment; None where its caller is known by a subsegment that has no owner yet."""
    parent = segment.parent
    view, via, alias = segment, None, None
    if parent is not None and not parent.segment:
        via = parent.id
        if parent.is_call:
            view, called_as = parent, inferred_service(parent.fields)
            alias = Service(called_as.name, called_as.type)
    if parent is not None and parent.owner is None:
        return None
    source = parent.owner.id if parent is not None and parent.owner is not None else None
    return Edge(source, segment.id, via, view.start_time, view.end_time, _flags(view), alias)


def _annotations(found: Entities) -> tuple[Annotation, ...]:
    values: list[tuple[float, str, int, Annotation]] = []
    for entity in found.all:
        annotations = entity.fields.get("annotations")
        if isinstance(annotations, dict):
            node = entity.owner.id if entity.owner is not None else None
            for position, (key, value) in enumerate(annotations.items()):
                if isinstance(value, int) and not isinstance(value, bool):
                    value = float(value)
                if isinstance(value, str | bool | float):
                    values.append((entity.start_time, entity.id, position, Annotation(node, key, value)))
    values.sort(key=lambda one: one[:3])
    return tuple(one[3] for one in values[:MAX_ANNOTATIONS])


def _failures(found: Entities) -> Iterator[Failure]:
    for entity in sorted((entity for entity in found.all if "cause" in entity.fields), key=_order):
        yield from failures_of(entity)


def failures_of(entity: Entity) -> Iterator[Failure]:
    """The exceptions of one entity, in their order."""
    exceptions = _block(entity.fields, "cause").get("exceptions")
    for exception in exceptions if isinstance(exceptions, list) else ():
        if isinstance(exception, dict):
            node = entity.owner.id if entity.owner is not None else None
            yield Failure(node, entity.id, _text(exception, "type"), _text(exception, "message"), exception.get("remote") is True)


def _order(entity: Entity) -> tuple[float, str]:
    return entity.start_time, entity.id


#: Every combination of ok, error, fault, throttle: a trace has a few of them many times.
_FLAGS = {
    (ok, error, fault, throttle): Flags(ok, error, fault, throttle)
    for ok in (False, True)
    for error in (False, True)
    for fault in (False, True)
    for throttle in (False, True)
}
_NOT_OK = _FLAGS[False, False, False, False]
_NO_HTTP = Http()


def _flags(entity: Entity) -> Flags:
    fields = entity.fields
    error, fault, throttle = fields.get("error") is True, fields.get("fault") is True, fields.get("throttle") is True
    return _FLAGS[entity.end_time is not None and not (error or fault or throttle), error, fault, throttle]


def _http(entity: Entity) -> Http:
    block = entity.fields.get("http")
    if not isinstance(block, dict):
        return _NO_HTTP
    request = _block(block, "request")
    status = _block(block, "response").get("status")
    return Http(
        _text(request, "url"),
        _text(request, "method"),
        status if isinstance(status, int) and not isinstance(status, bool) and 0 <= status < _MAX_STATUS else None,
        _text(request, "user_agent"),
        _text(request, "client_ip"),
    )


def _account(fields: Mapping[str, Any]) -> str | None:
    return _text(_block(fields, "aws"), "account_id")


_NOTHING: dict[str, Any] = {}


def _block(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = fields.get(key)
    return value if isinstance(value, dict) else _NOTHING


def _text(fields: Mapping[str, Any], key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) else None
