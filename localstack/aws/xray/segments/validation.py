"""Segment documents: what makes one valid.

Source: "AWS X-Ray segment documents" in the X-Ray developer guide, and the API reference of PutTraceSegments.
Error codes and messages are the ones that users of X-Ray report (MissingName, MissingId, InvalidName, ParseError …); where no
report is known (DocumentTooLarge, InvalidTimestamp) the code follows their pattern, and may differ from the service's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from localstack.aws.xray.segments import members

#: "Segment documents can be up to 64 kB in size."
MAX_DOCUMENT_BYTES = 64 * 1024
#: "Trace document size": 500 KB; beyond it LimitExceeded is set. What is beyond it is kept and returned all the same.
MAX_TRACE_BYTES = 500 * 1024

MAX_NAME = 200

#: How old a trace may be by its id. X-Ray keeps traces for 30 days.
RETENTION_SECONDS = 30 * 24 * 3600

#: A clock may be ahead of ours by this much; an id beyond it is not taken for epoch seconds.
MAX_AHEAD_SECONDS = 24 * 3600

TRACE_ID = re.compile(r"1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24}")
SEGMENT_ID = re.compile(r"[0-9a-fA-F]{16}")
#: "The name can contain up to 200 Unicode letters, digits, and whitespace, and the symbols _ . : / % & # = + \ - @"
NAME = re.compile(r"[\w\s.:/%&#=+\\\-@]{1,200}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How strict X-Ray is where the documentation leaves it open; each is a setting, and False is what loses nothing.

    ``old_trace_ids``: refuse a trace id whose first 8 digits are no time of the last 30 days (InvalidTraceId). Since October 2023 X-Ray
    takes W3C ids, whose digits are random, so it cannot refuse all of them; whether it still refuses some is not documented.
    ``full_traces``: refuse what comes for a trace of 500 KB or more (InvalidSegment, as users report it); the API reference says of
    such a trace only that LimitExceeded is set.
    ``annotations``: refuse annotations that break the documented form (ParseError); otherwise those are kept, and indexed where they are
    strings, numbers or booleans. ``wrong_types``: refuse documented members of another type (ParseError); otherwise they are kept
    and count as absent.
    """

    old_trace_ids: bool = False
    full_traces: bool = False
    annotations: bool = False
    wrong_types: bool = False


LENIENT = Limits()


@dataclass(frozen=True)
class Rejected:
    """A document that is not stored, as UnprocessedTraceSegments reports it. ``id`` is None where none could be read."""

    id: str | None
    code: str
    message: str


class Segment(NamedTuple):
    """One valid document. Times in epoch seconds; ``end_time`` None while in progress."""

    trace_id: str
    id: str
    parent_id: str | None
    independent: bool
    name: str
    start_time: float
    end_time: float | None
    document: str


class _Invalid(Exception):
    def __init__(self, code: str, why: str) -> None:
        super().__init__(code)
        self.code = code
        self.why = why


def parse(document: str, now: float, limits: Limits = LENIENT) -> Segment | Rejected:
    """Check one element of TraceSegmentDocuments. ``now``: epoch seconds."""
    identity: str | None = None
    kind = "segment"
    try:
        try:
            fields = orjson.loads(document)
        except orjson.JSONDecodeError as error:
            raise _Invalid("ParseError", str(error)) from None
        if not isinstance(fields, dict):
            raise _Invalid("ParseError", "the document is not a JSON object")
        found = fields.get("id")
        identity = found if isinstance(found, str) else None
        if fields.get("type") == "subsegment":
            kind = "subsegment"
        # A character is at most 4 bytes: most documents need no second look.
        if len(document) * 4 > MAX_DOCUMENT_BYTES and len(document.encode()) > MAX_DOCUMENT_BYTES:
            raise _Invalid("DocumentTooLarge", f"the document is larger than {MAX_DOCUMENT_BYTES} bytes")
        return _checked(fields, document, kind == "subsegment", now, limits)
    except _Invalid as error:
        return reject(identity, error.code, error.why, kind)


def reject(identity: str | None, code: str, why: str, kind: str = "segment") -> Rejected:
    """A rejection in the words of X-Ray."""
    return Rejected(identity, code, f"Invalid {kind}. ErrorCode: {code}, Cause: {why}")


def _checked(fields: dict[str, Any], document: str, independent: bool, now: float, limits: Limits) -> Segment:
    identity = _text(fields, "id", "Id")
    if not SEGMENT_ID.fullmatch(identity):
        raise _Invalid("InvalidId", "id must be 16 hexadecimal digits")
    trace_id = _text(fields, "trace_id", "TraceId")
    if not TRACE_ID.fullmatch(trace_id):
        raise _Invalid("InvalidTraceId", "trace_id must be 1-<8 hexadecimal digits>-<24 hexadecimal digits>")
    if limits.old_trace_ids and id_time(trace_id, now) is None:
        raise _Invalid("InvalidTraceId", "the time in trace_id is not within the last 30 days")
    parent_id = fields.get("parent_id")
    if parent_id is not None and not (isinstance(parent_id, str) and SEGMENT_ID.fullmatch(parent_id)):
        raise _Invalid("InvalidParentId", "parent_id must be 16 hexadecimal digits")
    if independent and parent_id is None:
        raise _Invalid("MissingParentId", "a subsegment sent on its own needs parent_id")
    name, start, end = _checked_body(fields)
    _check_blocks(fields)
    _check_members(fields, independent, limits)
    _check_subsegments(fields.get("subsegments"), limits)
    parent_id = None if parent_id is None else parent_id.lower()
    return Segment(trace_id.lower(), identity.lower(), parent_id, independent, name, start, end, document)


def _checked_body(fields: dict[str, Any]) -> tuple[str, float, float | None]:
    """What segments and subsegments share: name and times."""
    name = _text(fields, "name", "Name")
    if not NAME.fullmatch(name):
        raise _Invalid("InvalidName", f"name must be 1 to {MAX_NAME} letters, digits, whitespace and _ . : / % & # = + \\ - @")
    start = _time(fields, "start_time")
    if start is None:
        raise _Invalid("MissingStartTime", "start_time is required")
    in_progress = fields.get("in_progress")
    if in_progress is not None and not isinstance(in_progress, bool):
        raise _Invalid("InvalidInProgress", "in_progress must be a boolean")
    end = None if in_progress else _time(fields, "end_time")
    if end is None and not in_progress:
        raise _Invalid("MissingEndTime", "either end_time or in_progress is required")
    return name, start, end


def _check_blocks(fields: dict[str, Any]) -> None:
    for key in ("http", "aws", "annotations", "metadata", "service", "cause"):
        value = fields.get(key)
        if value is not None and not isinstance(value, dict) and not (key == "cause" and isinstance(value, str)):
            raise _Invalid("ParseError", f"{key} must be an object")
    for key in ("error", "fault", "throttle"):
        value = fields.get(key)
        if value is not None and not isinstance(value, bool):
            raise _Invalid("ParseError", f"{key} must be a boolean")


def _check_members(fields: dict[str, Any], subsegment: bool, limits: Limits) -> None:
    wrong = members.wrong_type(fields, subsegment) if limits.wrong_types else None
    if wrong is None and limits.annotations and fields.get("annotations"):
        wrong = members.wrong_annotation(fields["annotations"])
    if wrong is not None:
        raise _Invalid("ParseError", wrong)


def _check_subsegments(subsegments: Any, limits: Limits) -> None:
    if subsegments is None:
        return
    if not isinstance(subsegments, list):
        raise _Invalid("ParseError", "subsegments must be a list")
    for subsegment in subsegments:
        if isinstance(subsegment, str):
            continue  # the id of a subsegment that is sent on its own
        if not isinstance(subsegment, dict):
            raise _Invalid("ParseError", "a subsegment must be an object")
        if not SEGMENT_ID.fullmatch(_text(subsegment, "id", "Id")):
            raise _Invalid("InvalidId", "the id of a subsegment must be 16 hexadecimal digits")
        _checked_body(subsegment)
        _check_blocks(subsegment)
        _check_members(subsegment, True, limits)
        _check_subsegments(subsegment.get("subsegments"), limits)


def _text(fields: dict[str, Any], key: str, noun: str) -> str:
    value = fields.get(key)
    if value is None or value == "":
        raise _Invalid(f"Missing{noun}", f"{key} is required")
    if not isinstance(value, str):
        raise _Invalid(f"Invalid{noun}", f"{key} must be a string")
    return value


def _time(fields: dict[str, Any], key: str) -> float | None:
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise _Invalid("InvalidTimestamp", f"{key} must be epoch seconds")
    return float(value)


def id_time(trace_id: str, now: float) -> float | None:
    """The epoch seconds a trace id begins with; None where its digits are no recent time (a W3C id made at random)."""
    seconds = int(trace_id[2:10], 16)
    return float(seconds) if now - RETENTION_SECONDS <= seconds <= now + MAX_AHEAD_SECONDS else None
