"""Pure: the documents of a trace as a timeline, and each segment and subsegment in full.

Source: "AWS X-Ray segment documents" (developer guide). Whoever may send to X-Ray may send anything: what is of another type than
documented is left out of the timeline and stays in the raw document; nothing is deeper than the documents allow to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.compare.readers.base import mapping, text
from services.compare.readers.xray import SDK_MARK

#: Members that have their own place on the page, or say where a document stands.
_TOLD: Final = frozenset(
    [
        "id",
        "trace_id",
        "name",
        "parent_id",
        "type",
        "start_time",
        "end_time",
        "in_progress",
        "subsegments",
        "annotations",
        "metadata",
        "cause",
        "http",
        "aws",
        "sql",
        "fault",
        "error",
        "throttle",
        "namespace",
        "origin",
        "user",
        "inferred",
        "service",
        "precursor_ids",
        "links",
    ]
)
#: Blocks that are shown as tables, in this order.
BLOCKS: Final = ("http", "sql", "aws", "service")


@dataclass(frozen=True)
class Exception_:
    """One exception of a cause. ``stack``: (path, line, label), innermost first; ``skipped``: frames left out by the sender."""

    type: str
    message: str
    remote: bool
    stack: tuple[tuple[str, str, str], ...]
    skipped: int


@dataclass(frozen=True)
class Entity:
    """A segment or subsegment. Times are epoch seconds. ``flags``: fault, throttle, error. ``depth``: 0 for the root.

    ``sdk``: what the sender calls itself, of its segment where it has no name of its own.
    """

    id: str
    parent: str
    name: str
    depth: int
    is_segment: bool
    start: float | None
    end: float | None
    flags: tuple[str, ...]
    in_progress: bool
    inferred: bool
    namespace: str
    origin: str
    sdk: str
    request: str
    status: Any
    document: Mapping[str, Any] = field(repr=False)

    @property
    def milliseconds(self) -> float | None:
        return (self.end - self.start) * 1000 if self.start is not None and self.end is not None else None

    @property
    def path(self) -> str:
        """The signal path it came by, as far as the sender says."""
        return "xray/sdk" if SDK_MARK in self.sdk else "xray/otlp"

    @property
    def annotations(self) -> Mapping[str, Any]:
        return mapping(self.document.get("annotations"))

    @property
    def metadata(self) -> Mapping[str, Any]:
        """By namespace."""
        return mapping(self.document.get("metadata"))

    @property
    def blocks(self) -> list[tuple[str, list[tuple[str, Any]]]]:
        """http, sql, aws and service, and what else there is, flat: (block, [(dotted key, value)])."""
        found = [(name, list(_flat(block))) for name in BLOCKS if (block := mapping(self.document.get(name)))]
        other = [(key, value) for key, value in self.document.items() if key not in _TOLD]
        user = [("user", self.document["user"])] if self.document.get("user") is not None else []
        return [*found, *([("other", user + other)] if user or other else [])]

    @property
    def exceptions(self) -> list[Exception_]:
        cause = mapping(self.document.get("cause"))
        return [_exception(each) for each in _objects(cause.get("exceptions"))]

    @property
    def cause_elsewhere(self) -> str:
        """A cause can be the id of an exception that another (sub)segment holds."""
        return text(self.document.get("cause")) or ""

    @property
    def pretty(self) -> str:
        """Its own document, without those it holds."""
        return pretty({key: value for key, value in self.document.items() if key != "subsegments"})


@dataclass(frozen=True)
class Raw:
    """A document as X-Ray gave it. ``problem``: why it is not in the timeline."""

    id: str
    name: str
    text: str
    problem: str = ""


@dataclass(frozen=True)
class Timeline:
    """``entities``: every parent before its children, siblings by their start. Times are epoch seconds; ``end`` of what has ended."""

    entities: tuple[Entity, ...]
    raws: tuple[Raw, ...]
    start: float = 0.0
    end: float = 0.0

    @property
    def milliseconds(self) -> float:
        return (self.end - self.start) * 1000

    def find(self, identity: str) -> Entity | None:
        return next((entity for entity in self.entities if entity.id == identity), None)

    @property
    def first(self) -> Entity | None:
        """What one wants to see first: the innermost exception, else what failed, else the root."""
        sent = [entity for entity in self.entities if not entity.inferred]
        failed = [entity for entity in sent if entity.exceptions] or [entity for entity in sent if entity.flags]
        return max(failed, key=lambda entity: entity.depth) if failed else self.entities[0] if self.entities else None

    def values(self, key: str) -> list[str]:
        """What annotations and metadata of the trace say under this key, once each."""
        found: dict[str, None] = {}
        for entity in self.entities:
            for block in (entity.annotations, *map(mapping, entity.metadata.values())):
                value = text(block.get(key))
                if value:
                    found[value] = None
        return list(found)

    def bar(self, entity: Entity, width: float = 1000) -> tuple[float, float]:
        """Where its bar begins, and how wide it is, of ``width``; never too narrow to be seen."""
        if entity.start is None:
            return 0.0, 0.0
        total = max(self.end - self.start, 1e-9)
        end = entity.end if entity.end is not None else self.end
        length = max(width * (end - entity.start) / total, 3.0)
        return round(min(width * (entity.start - self.start) / total, width - 3.0), 2), round(min(length, width), 2)


def timeline(documents: Sequence[str]) -> Timeline:
    """The documents of BatchGetTraces, in any order."""
    raws: list[Raw] = []
    found: dict[str, tuple[Mapping[str, Any], str, bool]] = {}
    for number, document in enumerate(documents):
        try:
            read = json.loads(document)
        except (ValueError, RecursionError) as error:
            raws.append(Raw(str(number), "", document, f"not shown in the timeline: {type(error).__name__}"))
            continue
        if not isinstance(read, dict):
            raws.append(Raw(str(number), "", document, "not shown in the timeline: no JSON object"))
            continue
        raws.append(Raw(str(read.get("id") or number), str(read.get("name") or ""), pretty(read)))
        for each, parent in _walk(read):
            identity = str(each.get("id") or f"{number}.{len(found)}")
            # A complete document wins over the same in progress, whichever comes first.
            if identity not in found or found[identity][0].get("in_progress"):
                found[identity] = (each, parent, each is read and each.get("type") != "subsegment")
    children: dict[str, list[str]] = {}
    for identity, (_, parent, _) in found.items():
        children.setdefault(parent if parent in found and parent != identity else "", []).append(identity)
    entities = [_entity(identity, depth, sdk, *found[identity]) for identity, depth, sdk in _in_order(found, children)]
    starts = [entity.start for entity in entities if entity.start is not None]
    ends = [entity.end for entity in entities if entity.end is not None]
    start = min(starts, default=0.0)
    return Timeline(tuple(entities), tuple(raws), start, max([*ends, *starts], default=start))


def _walk(document: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """A document and all those it holds, each with the id of what holds it. Not recursive: they can be nested deeper than Python calls."""
    waiting: list[tuple[Mapping[str, Any], str]] = [(document, text(document.get("parent_id")) or "")]
    while waiting:
        at, parent = waiting.pop()
        yield at, parent
        waiting += [(child, str(at.get("id") or "")) for child in reversed(_objects(at.get("subsegments")))]


def _in_order(
    found: Mapping[str, tuple[Mapping[str, Any], str, bool]], children: Mapping[str, list[str]]
) -> Iterator[tuple[str, int, str]]:
    """(id, depth, what sent it), parents first; what is its own ancestor comes last, as a root."""

    def by_start(ids: Sequence[str]) -> list[str]:
        return sorted(ids, key=lambda identity: (_number(found[identity][0].get("start_time")) or 0.0, identity), reverse=True)

    seen: set[str] = set()
    for roots in (children.get("", []), found):
        waiting = [(identity, 0, "") for identity in by_start([each for each in roots if each not in seen])]
        while waiting:
            identity, depth, sdk = waiting.pop()
            if identity in seen:
                continue
            seen.add(identity)
            own = text(mapping(mapping(found[identity][0].get("aws")).get("xray")).get("sdk"))
            sdk = own or ("" if found[identity][2] else sdk)
            yield identity, depth, sdk
            waiting += [(child, depth + 1, sdk) for child in by_start(children.get(identity, []))]


def _entity(identity: str, depth: int, sdk: str, document: Mapping[str, Any], parent: str, is_segment: bool) -> Entity:
    http = mapping(document.get("http"))
    request = mapping(http.get("request"))
    return Entity(
        id=identity,
        parent=parent,
        name=str(document.get("name") or ""),
        depth=depth,
        is_segment=is_segment,
        start=_number(document.get("start_time")),
        end=_number(document.get("end_time")),
        flags=tuple(flag for flag in ("fault", "throttle", "error") if document.get(flag) is True),
        in_progress=document.get("in_progress") is True,
        inferred=document.get("inferred") is True,
        namespace=text(document.get("namespace")) or "",
        origin=text(document.get("origin")) or "",
        sdk=sdk,
        request=" ".join(each for each in (text(request.get("method")), text(request.get("url"))) if each),
        status=mapping(http.get("response")).get("status"),
        document=document,
    )


def _exception(exception: Mapping[str, Any]) -> Exception_:
    return Exception_(
        type=text(exception.get("type")) or "exception",
        message=text(exception.get("message")) or "",
        remote=exception.get("remote") is True,
        stack=tuple(
            (str(frame.get("path") or ""), str(frame.get("line") if frame.get("line") is not None else ""), str(frame.get("label") or ""))
            for frame in _objects(exception.get("stack"))
        ),
        skipped=int(_number(exception.get("truncated")) or 0) + int(_number(exception.get("skipped")) or 0),
    )


def _flat(block: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, value in block.items():
        if isinstance(value, Mapping) and value and depth < 6:
            yield from _flat(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value


def pretty(document: Any) -> str:
    """JSON for reading; of what is too deep for that, on one line or not at all."""
    try:
        return json.dumps(document, ensure_ascii=False, indent=2)
    except RecursionError:
        return "(nested too deeply to be set out; the raw data has it)"


def _number(value: Any) -> float | None:
    """A time or a count; true is none, and neither is what no clock shows."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e11 else None


def _objects(values: Any) -> list[Mapping[str, Any]]:
    return [each for each in values if isinstance(each, Mapping)] if isinstance(values, list) else []
