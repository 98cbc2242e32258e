"""Inferred segments: documents that nobody sent. Pure.

"X-Ray also creates inferred segments for downstream calls to services that don't send segments themselves … and adds it to the
trace document" ("Getting data from AWS X-Ray", developer guide, which shows what such a document holds). The id, 16 digits that
are X-Ray's to choose, is made of the call's, so that a trace is the same however often it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from localstack.aws.xray.traces.entities import Entities, Entity
from localstack.aws.xray.traces.facts import inferred_service

#: What an inferred segment has of the call it was inferred from.
_OF_THE_CALL = ("http", "aws", "error", "throttle", "fault")


def inferred_segments(trace_id: str, found: Entities) -> Iterator[tuple[str, str]]:
    """``(id, JSON text)`` of a trace's inferred segments, in the order of their calls."""
    calls = [entity for entity in found.all if entity.is_inferred_call]
    for call in sorted(calls, key=lambda one: (one.start_time, one.id)):
        document = _document(trace_id, call)
        yield document["id"], orjson.dumps(document).decode()


def _document(trace_id: str, call: Entity) -> dict[str, Any]:
    fields = call.fields
    document: dict[str, Any] = {
        "id": hashlib.blake2b(f"{trace_id}/{call.id}".encode(), digest_size=8).hexdigest(),
        "name": call.name,
        "start_time": fields["start_time"],
    }
    document |= {"in_progress": True} if call.end_time is None else {"end_time": fields["end_time"]}
    document |= {"parent_id": call.id, "inferred": True}
    document |= {key: fields[key] for key in _OF_THE_CALL if key in fields}
    return document | {"trace_id": trace_id, "origin": inferred_service(fields).type}
