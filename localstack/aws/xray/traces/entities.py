"""The segments and subsegments of one trace, and how they hang together. Pure.

The rules are those of :mod:`localstack.aws.xray.traces.facts`; facts and root causes are both derived from what is built here, so that a
document is parsed once and a rule stands once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from localstack.aws.xray.traces.assembly import Tree, assemble
from localstack.aws.xray.traces.documents import StoredDocument

#: Namespaces of a subsegment that make it a call to somewhere else.
CALLS = ("remote", "aws")


@dataclass(slots=True, eq=False)
class Entity:
    """A segment or subsegment. ``end_time`` None: in progress.

    ``parent``: of a subsegment what it is in, of a segment what its ``parent_id`` names, where that is in the trace. ``within``: the
    segment a subsegment is part of; None where its parent has not arrived. ``answered``: whether it is the parent of a segment.

    References lead upwards only: what goes round would be left to the garbage collector, many times a page.
    """

    id: str
    fields: dict[str, Any]
    start_time: float
    end_time: float | None
    segment: bool
    parent: Entity | None = None
    within: Entity | None = None
    answered: bool = False

    @property
    def name(self) -> str:
        name: str = self.fields["name"]
        return name

    @property
    def owner(self) -> Entity | None:
        """The segment it is part of; a segment, itself. None for what belongs to a subsegment whose parent has not arrived."""
        return self if self.segment else self.within

    @property
    def is_call(self) -> bool:
        """Whether it is a subsegment that called something else."""
        return not self.segment and self.fields.get("namespace") in CALLS

    @property
    def is_inferred_call(self) -> bool:
        """Whether it is a call to what sent no segment of its own: X-Ray infers one."""
        return not self.segment and self.fields.get("namespace") in CALLS and self.within is not None and not self.answered


@dataclass(slots=True)
class Entities:
    """All of a trace. ``segments`` in the order of (start_time, id), ``all`` those and their subsegments, orphans last."""

    trees: list[Tree]
    segments: list[Entity]
    all: list[Entity]

    @property
    def root(self) -> Entity | None:
        """The earliest entry; where segments are each other's parents, the earliest segment."""
        return next((segment for segment in self.segments if segment.parent is None), self.segments[0] if self.segments else None)

    def below(self) -> dict[int, list[Entity]]:
        """The subsegments and called segments of each entity that has any, by Python's id of it."""
        found: dict[int, list[Entity]] = {}
        for entity in self.all:
            if entity.parent is not None:
                found.setdefault(id(entity.parent), []).append(entity)
        return found


def entities(documents: Sequence[StoredDocument]) -> Entities:
    """The entities of one trace."""
    trees = assemble(documents)
    segments: list[Entity] = []
    everything: list[Entity] = []
    orphans: list[Entity] = []
    called: list[tuple[Entity, str]] = []
    for tree in trees:
        stored = tree.stored
        top = Entity(stored.id.lower(), tree.fields, stored.start_time, stored.end_time, not stored.independent)
        _add(top, orphans if stored.independent else everything)
        if not stored.independent:
            segments.append(top)
            if stored.parent_id is not None:
                called.append((top, stored.parent_id.lower()))
    everything += orphans
    if called:
        known: dict[str, Entity] = {}
        for entity in everything:
            known.setdefault(entity.id, entity)
        known.update({segment.id: segment for segment in segments})
        for segment, parent_id in called:
            parent = segment.parent = known.get(parent_id)
            if parent is not None:
                parent.answered = True
    return Entities(trees, segments, everything)


def _add(top: Entity, found: list[Entity]) -> None:
    """``top`` and all that is in it, each before its subsegments."""
    found.append(top)
    waiting = [top]
    while waiting:
        entity = waiting.pop()
        for fields in entity.fields.get("subsegments") or ():
            end = None if fields.get("in_progress") is True else fields.get("end_time")
            child = Entity(
                fields["id"].lower(),
                fields,
                float(fields["start_time"]),
                None if end is None else float(end),
                False,
                entity,
                entity.owner,
            )
            found.append(child)
            waiting.append(child)
