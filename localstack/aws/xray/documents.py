"""Traces put together from stored documents. Pure.

Source: the API reference of BatchGetTraces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A row of the segment table, as much as a trace is put together from."""

    trace_id: str
    id: str
    parent_id: str | None
    independent: bool
    start_time: float
    end_time: float | None
    received: float
    revision: int
    document: str


#: What an independent subsegment carries and an embedded one does not: it says where it belongs, and there it is now.
_ADDRESS = ("trace_id", "parent_id", "type")


def assemble(documents: Sequence[StoredDocument]) -> list[dict[str, Any]]:
    """The documents of one trace as X-Ray returns them, earliest first.

    A subsegment that was sent on its own is embedded in the segment or subsegment it belongs to; where that is not (yet)
    known it stays a document of its own, with ``type`` and ``parent_id``.
    """
    trees: dict[str, dict[str, Any]] = {}
    for stored in documents:
        trees[stored.id] = orjson.loads(stored.document)
    # Everything that can be a parent: documents and what is embedded in them. A document wins over an embedded namesake.
    nodes: dict[str, dict[str, Any]] = {}
    for tree in trees.values():
        for node in walk(tree):
            nodes.setdefault(node["id"], node)
    nodes.update(trees)
    own: list[StoredDocument] = []
    for stored in sorted(documents, key=lambda stored: (stored.start_time, stored.id)):
        parent = nodes.get(stored.parent_id or "") if stored.independent else None
        if parent is None or _inside(trees[stored.id], parent):
            own.append(stored)
            continue
        # The member may be there and null.
        siblings = parent["subsegments"] = parent.get("subsegments") or []
        # A streamed subsegment may still be in its parent, by its id or as it was then.
        siblings[:] = [sibling for sibling in siblings if (sibling if isinstance(sibling, str) else sibling["id"]) != stored.id]
        child = trees[stored.id]
        for key in _ADDRESS:
            child.pop(key, None)
        siblings.append(child)
    return [trees[stored.id] for stored in own]


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A document and every subsegment embedded in it."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(child for child in reversed(node.get("subsegments") or []) if isinstance(child, dict))


def _inside(tree: dict[str, Any], node: dict[str, Any]) -> bool:
    """Whether ``node`` is part of ``tree``: documents that name each other as parents must not swallow one another."""
    return any(part is node for part in walk(tree))
