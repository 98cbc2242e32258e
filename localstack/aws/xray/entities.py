"""The segments and subsegments of one trace, and how they hang together. Pure.

The rules are those of :mod:`localstack.aws.xray.facts`; facts and root causes are both derived from what is built here, so that a
document is parsed once and a rule stands once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from localstack.aws.xray.documents import StoredDocument, Tree, assemble

#: Namespaces of a subsegment that make it a call to somewhere else.
CALLS = ("remote", "aws")


@dataclass(slots=True, eq=False)
class Entity:
    """A segment or subsegment. ``end_time`` None: in progress.

    ``parent``: of a subsegment what it is in, of a segment what its ``parent_id`` names, where that is in the trace. ``owner``: the
    segment it is part of, a segment itself; None for what belongs to a subsegment whose parent has not arrived. ``called``: the
    segments whose parent it is.
    """

    id: str
    fields: dict[str, Any]
    start_time: float
    end_time: float | None
    segment: bool
    parent: Entity | None = None
    owner: Entity | None = None
    subsegments: list[Entity] = field(default_factory=list)
    called: list[Entity] = field(default_factory=list)

    @property
    def name(self) -> str:
        name: str = self.fields["name"]
        return name

    @property
    def is_call(self) -> bool:
        """Whether it is a subsegment that called something else."""
        return not self.segment and self.fields.get("namespace") in CALLS

    @property
    def is_inferred_call(self) -> bool:
        """Whether it is a call to what sent no segment of its own: X-Ray infers one."""
        return self.is_call and self.owner is not None and not self.called


@dataclass(slots=True)
class Entities:
    """All of a trace. ``segments`` in the order of (start_time, id), ``all`` those and their subsegments, orphans last."""

    trees: list[Tree]
    segments: list[Entity]
    all: list[Entity]

    @property
    def entries(self) -> list[Entity]:
        """Segments that were called by nothing in the trace: by the client."""
        return [segment for segment in self.segments if segment.parent is None]

    @property
    def root(self) -> Entity | None:
        """The earliest entry; where segments are each other's parents, the earliest segment."""
        return next((segment for segment in self.segments if segment.parent is None), self.segments[0] if self.segments else None)


def entities(documents: Sequence[StoredDocument]) -> Entities:
    """The entities of one trace."""
    trees = assemble(documents)
    segments: list[Entity] = []
    everything: list[Entity] = []
    orphans: list[Entity] = []
    known: dict[str, Entity] = {}
    for tree in trees:
        stored = tree.stored
        top = Entity(stored.id.lower(), tree.fields, stored.start_time, stored.end_time, not stored.independent)
        if stored.independent:
            _add(top, orphans)
        else:
            top.owner = top
            segments.append(top)
            _add(top, everything)
    everything += orphans
    for entity in everything:
        known.setdefault(entity.id, entity)
    known.update({segment.id: segment for segment in segments})
    for segment, stored in zip(segments, (tree.stored for tree in trees if not tree.stored.independent), strict=True):
        if stored.parent_id is not None:
            parent = known.get(stored.parent_id.lower())
            if parent is not None:
                segment.parent = parent
                parent.called.append(segment)
    return Entities(trees, segments, everything)


def _add(top: Entity, found: list[Entity]) -> None:
    """``top`` and all that is in it, each before its subsegments."""
    found.append(top)
    waiting = [top]
    while waiting:
        entity = waiting.pop()
        for fields in entity.fields.get("subsegments") or ():
            end = None if fields.get("in_progress") is True else fields.get("end_time")
            child = Entity(fields["id"].lower(), fields, float(fields["start_time"]), None if end is None else float(end), False, entity)
            child.owner = entity.owner
            entity.subsegments.append(child)
            found.append(child)
            waiting.append(child)
