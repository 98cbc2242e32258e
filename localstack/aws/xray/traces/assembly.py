"""Traces put together from stored documents. Pure.

Source: the API reference of BatchGetTraces, "AWS X-Ray segment documents" and "Getting data from AWS X-Ray" in the X-Ray developer
guide. "These documents don't represent the data as it was sent": X-Ray compiles them from what it received. Where the guide says no
more than that, the rules are ours:

- A subsegment that was sent on its own is embedded in the segment or subsegment that its ``parent_id`` names, after those that were
  there, earliest first, without ``type``, ``parent_id`` and ``trace_id``: it says where it belongs, and there it is now.
- Where that has not arrived, it is a document of its own, with these members. So is one of each circle of subsegments that name
  each other as parents, the one that closes it in the order of (start_time, id).
- ``subsegments`` may name a subsegment by its id, or hold it as it was before: either gives way to the subsegment when it comes on
  its own. An id whose subsegment has not come is left out: the schema knows objects there.
- All else is returned as it was sent, ``precursor_ids``, ``links`` and members that nobody documents included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from localstack.aws.xray.traces.documents import StoredDocument


@dataclass(slots=True)
class Tree:
    """A document of a trace: ``stored``, and ``fields``, its members with what was embedded in it.

    ``parts``: what went into it; ``altered``: whether ``fields`` is no longer just what ``stored`` says.
    """

    stored: StoredDocument
    fields: dict[str, Any]
    parts: list[StoredDocument]
    altered: bool = False

    def documents(self) -> list[tuple[str, str]]:
        """``(id, JSON text)`` of what X-Ray returns for it: one document.

        Where subsegments lie within one another so deeply that no reader of JSON would take the whole, its parts.
        """
        if not self.altered:
            return [(self.stored.id, self.stored.document)]
        try:
            return [(self.stored.id, orjson.dumps(self.fields).decode())]
        except TypeError:  # "Recursion limit reached"
            return [(part.id, part.document) for part in self.parts]


#: What an independent subsegment carries and an embedded one does not.
_ADDRESS = ("trace_id", "parent_id", "type")


def assemble(documents: Sequence[StoredDocument]) -> list[Tree]:
    """The documents of one trace, put together, in the order of (start_time, id), whatever order they came in."""
    trees = [Tree(stored, orjson.loads(stored.document), [stored]) for stored in sorted(documents, key=_order)]
    for tree in trees:
        if tree.fields.get("subsegments"):
            _drop_ids(tree)
    if not any(tree.stored.independent for tree in trees):
        return trees
    return _embed(trees)


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A document and every subsegment embedded in it."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        children = node.get("subsegments")
        if children:
            waiting.extend(child for child in reversed(children) if isinstance(child, dict))


def _order(stored: StoredDocument) -> tuple[float, str]:
    return stored.start_time, stored.id


def _drop_ids(tree: Tree) -> None:
    for node in walk(tree.fields):
        children = node.get("subsegments")
        if children and not all(isinstance(child, dict) for child in children):
            node["subsegments"] = [child for child in children if isinstance(child, dict)]
            tree.altered = True


def _embed(trees: list[Tree]) -> list[Tree]:
    # Everything that can be a parent, with the document it is in. A document wins over an embedded namesake.
    places: dict[str, tuple[dict[str, Any], Tree]] = {}
    for tree in trees:
        for node in walk(tree.fields):
            places.setdefault(node["id"].lower(), (node, tree))
    places.update({tree.stored.id.lower(): (tree.fields, tree) for tree in trees})
    # Which document each one went into, so that those that name each other as parents do not swallow one another.
    inside: dict[str, Tree] = {}
    embedded: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    own: list[Tree] = []
    for tree in trees:
        parent_id = (tree.stored.parent_id or "").lower()
        place = places.get(parent_id) if tree.stored.independent else None
        if place is None or _outermost(place[1], inside) is tree:
            own.append(tree)
            continue
        inside[tree.stored.id] = place[1]
        embedded.setdefault(parent_id, (place[0], []))[1].append(tree.fields)
    for parent, children in embedded.values():
        arrived = {child["id"].lower() for child in children}
        # A streamed subsegment may still be in its parent as it was then. The member may be there and null.
        before = [child for child in parent.get("subsegments") or () if child["id"].lower() not in arrived]
        for child in children:
            for key in _ADDRESS:
                child.pop(key, None)
        parent["subsegments"] = before + children
    for tree in trees:
        if tree.stored.id in inside:
            outermost = _outermost(tree, inside)
            outermost.parts.append(tree.stored)
            outermost.altered = True
    return own


def _outermost(tree: Tree, inside: dict[str, Tree]) -> Tree:
    path = []
    while (outer := inside.get(tree.stored.id)) is not None:
        path.append(tree.stored.id)
        tree = outer
    # The next one who asks need not go the whole way.
    for step in path:
        inside[step] = tree
    return tree
