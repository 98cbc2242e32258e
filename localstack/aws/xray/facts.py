"""What X-Ray knows of one trace: its service nodes, the edges between them, annotations and exceptions. Pure.

Two ways lead to these facts and a property test holds them against each other: :func:`facts` derives them from the documents of
one trace in Python, for what looks at a page of traces; ``index`` derives the same in SQL for all of them, for what looks
through many. Filter expressions, graphs and statistics are defined on these facts alone.

The rules, where the developer guide leaves them open, are ours:

- A trace is the documents :func:`localstack.aws.xray.documents.assemble` puts together. A *segment* is a document whose ``type``
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
- Times are epoch seconds. Ids are 16 lower-case hexadecimal digits. A documented field with a value of another type than the
  documentation's counts as absent.
- The trace's start and end go over all its documents (an embedded subsegment lies within its own by definition).
- **Annotations** are those of all entities that are strings, numbers or booleans; ``node`` is the owner (None: no owner yet).
  Of one trace at most :data:`MAX_ANNOTATIONS` count, ordered by (start_time of the entity, id of the entity, position in the document).
- **Exceptions** are the elements of ``cause.exceptions`` of all entities.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: "X-Ray indexes up to 50 annotations per trace".
MAX_ANNOTATIONS = 50


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
    """A service's part in a trace. ``id``: the segment's, or for an inferred node the call's."""

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
