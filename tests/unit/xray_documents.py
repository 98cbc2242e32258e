"""Stored documents of X-Ray as tests make them: of one trace, with short ids."""

from __future__ import annotations

import json
from typing import Any

from localstack.aws.xray.traces.documents import StoredDocument

TRACE = "1-6b02ee0b-536effe739ae0731fac41d6c"


def stored(
    identity: str, parent: str | None = None, independent: bool = False, start: float = 1.0, end: float | None = 2.0, **fields: Any
) -> StoredDocument:
    """A segment, or with ``independent`` a subsegment sent on its own; ``end`` None: in progress."""
    document = {"id": identity, "name": f"n{identity}", "trace_id": TRACE, "start_time": start} | fields
    document |= {"in_progress": True} if end is None else {"end_time": end}
    if parent is not None:
        document["parent_id"] = parent
    if independent:
        document["type"] = "subsegment"
    return StoredDocument(TRACE, identity, parent, independent, start, end, 0.0, 1, json.dumps(document))


def subsegment(identity: str, start: float = 1.0, end: float | None = 2.0, **fields: Any) -> dict[str, Any]:
    """An embedded subsegment."""
    return (
        {"id": identity, "name": f"n{identity}", "start_time": start}
        | ({"in_progress": True} if end is None else {"end_time": end})
        | fields
    )
