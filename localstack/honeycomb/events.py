"""Bodies of the Events API to rows: JSON or msgpack, one event or a batch. Pure.

Facts from Honeycomb's API reference ("Create Events", "Create an Event").
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from localstack.honeycomb.layout import Rows, Value, sample_rate

#: Bytes of one event, fields of one event, bytes of one string, bytes of a batch (libhoney's own limit).
MAX_EVENT = 1_000_000
MAX_FIELDS = 2_000
MAX_STRING = 65_536
MAX_BATCH = 5_000_000

EMPTY = "Request body should not be empty."
MALFORMED = "Request body is malformed and cannot be read."
TOO_LARGE = "Request body is too large."
TOO_MANY_FIELDS = "Event has too many columns."
# Unsure: Honeycomb documents the limit and not the message.
STRING_TOO_LARGE = "Event has a string that is too large."

_MSGPACK = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:?\d\d)?",
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Rejected(Exception):
    """A body, or one event of a batch, that Honeycomb refuses with this message."""


@dataclass(frozen=True)
class BatchResult:
    """``statuses`` has one entry for each event of the batch, in order, as the API answers them."""

    rows: Rows
    statuses: list[dict[str, Any]]


def batch(body: bytes, content_type: str, dataset: str, now: int, expand_depth: int = 0) -> BatchResult:
    """A batch: ``[{"time", "samplerate", "data": {…}}]``. Raises Rejected when it cannot be read as one.

    ``now`` (nanoseconds since the epoch) is the time of an event that says none.
    """
    document = _load(body, content_type)
    if not isinstance(document, list):
        raise Rejected(MALFORMED)
    rows = Rows()
    statuses: list[dict[str, Any]] = []
    for item in document:
        try:
            if not isinstance(item, dict):
                raise Rejected(MALFORMED)
            _add(rows, dataset, item.get("data"), item.get("time"), item.get("samplerate"), now, expand_depth)
            statuses.append({"status": 202})
        except Rejected as error:
            statuses.append({"status": 400, "error": str(error)})
    return BatchResult(rows, statuses)


def single(body: bytes, content_type: str, dataset: str, time: str, rate: str, now: int, expand_depth: int = 0) -> Rows:
    """One event: a flat object, with its time and sample rate from headers. Raises Rejected."""
    rows = Rows()
    _add(rows, dataset, _load(body, content_type), time or None, _number_of(rate) if rate else None, now, expand_depth)
    return rows


def _number_of(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Rejected(MALFORMED) from None


def _load(body: bytes, content_type: str) -> Any:
    """JSON, unless the content type says msgpack: Honeycomb's own examples send JSON with no content type."""
    if not body:
        raise Rejected(EMPTY)
    try:
        if content_type.partition(";")[0].strip().lower() in _MSGPACK:
            import msgpack

            return msgpack.unpackb(body, strict_map_key=False)
        return orjson.loads(body)
    except Exception:
        # msgpack raises a dozen unrelated types for bad input; all of them mean the same to the client.
        raise Rejected(MALFORMED) from None


def _add(rows: Rows, dataset: str, data: Any, time: Any, rate: Any, now: int, expand_depth: int) -> None:
    if data is None or data == {}:
        raise Rejected(EMPTY)
    if not isinstance(data, dict):
        raise Rejected(MALFORMED)
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float)):
        raise Rejected(MALFORMED)
    flat = flatten(data, expand_depth)
    if len(flat) > MAX_FIELDS:
        raise Rejected(TOO_MANY_FIELDS)
    if any(isinstance(value, str) and len(value.encode()) > MAX_STRING for value in flat.values()):
        raise Rejected(STRING_TOO_LARGE)
    if len(orjson.dumps(flat)) > MAX_EVENT:
        raise Rejected(TOO_LARGE)
    rows.add(dataset, now if time is None else timestamp(time), 1 if rate is None else sample_rate(rate), flat)


def flatten(data: Mapping[Any, Any], depth: int) -> dict[str, Value]:
    """The columns of an event: objects down to ``depth`` become ``a.b``, deeper ones and lists a JSON string; nulls are dropped."""
    flat: dict[str, Value] = {}

    def put(key: str, value: Any, left: int) -> None:
        if isinstance(value, dict) and left > 0:
            for name, inner in value.items():
                put(f"{key}.{name}", inner, left - 1)
        elif isinstance(value, dict | list):
            try:
                flat[key] = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
            except TypeError:
                raise Rejected(MALFORMED) from None
        elif isinstance(value, str | bool):
            flat[key] = value
        elif isinstance(value, int | float):
            if math.isfinite(value):
                flat[key] = value
        elif value is not None:
            raise Rejected(MALFORMED)

    for key, value in data.items():
        if str(key):
            put(str(key), value, depth)
    try:
        # What JSON cannot carry, such as a lone surrogate, must fail before anything is stored.
        "".join(flat).encode()
    except UnicodeEncodeError:
        raise Rejected(MALFORMED) from None
    return flat


def timestamp(value: Any) -> int:
    """Nanoseconds since the epoch of a time: RFC 3339, epoch seconds as a number or text, or a msgpack timestamp. Raises Rejected."""
    if hasattr(value, "to_unix_nano"):
        return int(value.to_unix_nano())
    if isinstance(value, str):
        match = _RFC3339.fullmatch(value.strip())
        if match is not None:
            date, clock, fraction, zone = match.groups()
            zone = "+00:00" if zone is None or zone in "Zz" else zone
            try:
                moment = datetime.fromisoformat(f"{date}T{clock}{zone}")
            except ValueError:
                raise Rejected(MALFORMED) from None
            return (moment - _EPOCH) // timedelta(seconds=1) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))
        value = _number_of(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        raise Rejected(MALFORMED)
    # Epoch time may be in seconds or finer: Honeycomb's SDKs send seconds, its documentation allows milliseconds and below.
    for limit, factor in ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000)):
        if abs(value) < limit:
            return round(value * factor)
    return int(value)
