"""Root causes of a trace: of its faults, its errors and its response time. Pure.

Source: the API reference of FaultRootCause, ErrorRootCause and ResponseTimeRootCause, and answers of X-Ray that users published: the
services lead from the entry to the cause, each with the path of its entities (the segment first, then subsegments), coverage is a
share of the root's response time with three digits. How X-Ray picks causes is not documented. Ours:

- A **fault root cause** is an entity with ``fault`` that no faulted entity below it explains. Below are its subsegments and the
  segments it called; a segment without ``fault`` between the two has dealt with what came from below, so it explains nothing. Subsegments
  without it are passed over: not every instrumentation marks them. An **error root cause** is the same with ``error``.
- Its services go from the entry down to it. A call that no segment answers adds the inferred service, with an entity of the call's name.
- It is **client impacting** where each segment on the way, from an entry, has the flag: the failure went all the way up.
- Equal causes (a call that fails the same way in a loop) are one. At most :data:`MAX_CAUSES` of a kind are told, the earliest.
- The **response time root cause** starts at the root and goes on to the subsegment or called segment that takes most of its
  parent's time, as long as that is at least half of it. Each complete root has one, however fast; X-Ray reports only those it finds slow,
  by a rule it does not tell. The time of a child counts within its parent's.
- ``remote`` is a subsegment that is a call (``namespace`` ``remote`` or ``aws``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from localstack.aws.xray.traces.documents import StoredDocument
from localstack.aws.xray.traces.entities import Entities, Entity, entities
from localstack.aws.xray.traces.facts import Service, failures_of, service_of

#: Root causes of one kind a trace tells at most.
MAX_CAUSES = 25

#: A child that takes this share of its parent's time is on the path of the response time.
_MOST = 0.5


@dataclass(frozen=True, slots=True)
class CauseException:
    name: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class CauseEntity:
    """An entity on the way to a cause. ``coverage``: of the response time, 0 to 1; None for faults and errors, as they have exceptions."""

    name: str
    remote: bool
    exceptions: tuple[CauseException, ...] = ()
    coverage: float | None = None


@dataclass(frozen=True, slots=True)
class CauseService:
    service: Service
    inferred: bool
    entities: tuple[CauseEntity, ...]


@dataclass(frozen=True, slots=True)
class RootCause:
    services: tuple[CauseService, ...]
    client_impacting: bool


@dataclass(frozen=True, slots=True)
class RootCauses:
    fault: tuple[RootCause, ...] = ()
    error: tuple[RootCause, ...] = ()
    response_time: tuple[RootCause, ...] = ()


def root_causes(documents: Sequence[StoredDocument]) -> RootCauses:
    """All root causes of one trace; ``documents``: all of it."""
    return derive(entities(documents))


def derive(found: Entities) -> RootCauses:
    """As :func:`root_causes`, for a trace whose entities are at hand."""
    return RootCauses(_failing(found, "fault"), _failing(found, "error"), _slow(found))


def _failing(found: Entities, flag: Literal["fault", "error"]) -> tuple[RootCause, ...]:
    failing = [entity for entity in found.all if entity.fields.get(flag) is True and entity.owner is not None]
    if not failing:
        return ()
    explained = {id(above) for entity in failing if (above := _explained_by(entity, flag)) is not None}
    causes = (entity for entity in sorted(failing, key=lambda one: (one.start_time, one.id)) if id(entity) not in explained)
    told: dict[RootCause, None] = {}
    for entity in causes:
        path = _path(entity)
        impacting = path[0].parent is None and all(step.fields.get(flag) is True for step in path if step.segment)
        told[RootCause(tuple(_services(path, None)), impacting)] = None
        if len(told) == MAX_CAUSES:
            break
    return tuple(told)


def _explained_by(entity: Entity, flag: str) -> Entity | None:
    """The next entity above that ``entity`` explains the failure of."""
    seen: set[int] = {id(entity)}
    above = entity.parent
    while above is not None and id(above) not in seen:
        if above.fields.get(flag) is True:
            return above
        if above.segment:
            return None
        seen.add(id(above))
        above = above.parent
    return None


def _path(entity: Entity) -> list[Entity]:
    """From the entry (or what is known below it) down to ``entity``."""
    path: list[Entity] = []
    seen: set[int] = set()
    step: Entity | None = entity
    while step is not None and step.owner is not None and id(step) not in seen:
        seen.add(id(step))
        path.append(step)
        step = step.parent
    # Where segments are each other's parents the way up ends anywhere: begin with a whole service.
    while not path[-1].segment:
        path.pop()
    return path[::-1]


def _slow(found: Entities) -> tuple[RootCause, ...]:
    root = found.root
    if root is None or root.end_time is None or root.end_time <= root.start_time:
        return ()
    path, coverage = [root], [1.0]
    start, end = root.start_time, root.end_time
    seen = {id(root)}
    below = found.below()
    while True:
        step = None
        most = _MOST * (end - start)
        for child in sorted(below.get(id(path[-1]), ()), key=lambda one: (one.start_time, one.id)):
            if child.end_time is None or id(child) in seen:
                continue
            taken = min(child.end_time, end) - max(child.start_time, start)
            if taken > 0 and taken >= most and (step is None or taken > most):
                step, most = child, taken
        if step is None or step.end_time is None:
            return (RootCause(tuple(_services(path, coverage)), client_impacting=True),)
        seen.add(id(step))
        path.append(step)
        start, end = max(step.start_time, start), min(step.end_time, end)
        coverage.append(round((end - start) / (root.end_time - root.start_time), 3))


def _services(path: Sequence[Entity], coverage: Sequence[float] | None) -> Iterator[CauseService]:
    """The path's entities, by the service they belong to; ``coverage``: of each, for the response time."""
    first = 0
    for at, entity in enumerate(path):
        if at + 1 == len(path) or path[at + 1].segment:
            told = [_entity(path[index], coverage[index] if coverage else None) for index in range(first, at + 1)]
            yield CauseService(service_of(path[first]), inferred=False, entities=tuple(told))
            first = at + 1
        if at + 1 == len(path) and entity.is_inferred_call:
            told = [CauseEntity(entity.name, remote=False, coverage=coverage[at] if coverage else None)]
            yield CauseService(service_of(entity), inferred=True, entities=tuple(told))


def _entity(entity: Entity, coverage: float | None) -> CauseEntity:
    if coverage is not None:
        return CauseEntity(entity.name, entity.is_call, coverage=coverage)
    exceptions = tuple(CauseException(failure.name, failure.message) for failure in failures_of(entity))
    return CauseEntity(entity.name, entity.is_call, exceptions)
