"""What an item is: the documented form of ``POST /api/1/item/``, checked. Pure.

Source: "Create an Item" (and, with every key explained, "Items: POST") in Rollbar's API documentation. Keys that Rollbar does not know
are kept: SDKs send them, and Rollbar stores whatever it is sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localstack.rollbar import grouping

#: Severity from low to high, with the numbers the reports API uses.
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

#: Exactly one of these makes the body of an item.
BODIES = ("trace", "trace_chain", "message", "crash_report")

#: Platforms whose items need a token with ``post_client_item``.
CLIENT_PLATFORMS = frozenset({"browser", "android", "ios", "flash", "client"})

ENVIRONMENT_LENGTH = 255
TITLE_LENGTH = 255
UUID_LENGTH = 36

#: Containers inside each other. What is stored must be written and read again without reaching the interpreter's own limit.
_DEEPEST = 256

#: Seconds; later than any clock that works, and safe in every integer column.
_LAST_TIMESTAMP = 2**40


class NotJson(Exception):
    """The text is not one JSON document."""


class InvalidItem(Exception):
    """A JSON document that is not an item. The message names the key and what it must be."""


@dataclass(frozen=True)
class Occurrence:
    """One occurrence, ready to be stored."""

    #: None when the client gave none; the state then makes one.
    uuid: str | None
    #: Epoch seconds the client gave, or None.
    timestamp: int | None
    environment: str
    level: str
    title: str
    platform: str
    framework: str
    #: What occurrences of one item have in common.
    fingerprint: str
    data: dict[str, Any]


def parse(text: bytes) -> Any:
    """A JSON document. Raises NotJson.

    Not a fast parser on purpose: local variables carry integers of any size, and those must not make an item unreadable.
    """
    try:
        document = json.loads(text.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise NotJson("it is not UTF-8") from None
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    if _deeper_than(document, _DEEPEST):
        raise NotJson("it is nested too deeply")
    return document


def occurrence(document: Any) -> Occurrence:
    """The occurrence that a parsed payload describes. Raises InvalidItem."""
    if not isinstance(document, dict):
        raise InvalidItem("the payload must be an object")
    data = document.get("data")
    if not isinstance(data, dict):
        raise InvalidItem("data is required and must be an object")
    environment = _string(data, "environment", ENVIRONMENT_LENGTH)
    if not environment:
        raise InvalidItem("data.environment is required")
    kind, title = _body(data.get("body"))
    level = data.get("level")
    if level is None:
        level = "info" if kind == "message" else "error"
    elif not isinstance(level, str) or level not in LEVELS:
        raise InvalidItem(f"data.level must be one of {', '.join(reversed(LEVELS))}")
    _string(data, "fingerprint", None)
    return Occurrence(
        uuid=_string(data, "uuid", UUID_LENGTH) or None,
        timestamp=_timestamp(data.get("timestamp")),
        environment=environment,
        level=level,
        title=(_string(data, "title", TITLE_LENGTH) or title)[:TITLE_LENGTH],
        platform=_loose(data.get("platform")),
        framework=_loose(data.get("framework")),
        fingerprint=grouping.fingerprint(data),
        data=data,
    )


def _body(body: Any) -> tuple[str, str]:
    """Which body it is, and the title Rollbar gives its item."""
    if not isinstance(body, dict):
        raise InvalidItem("data.body is required and must be an object")
    present = [name for name in BODIES if body.get(name) is not None]
    if len(present) != 1:
        found = " and ".join(present) or "none"
        raise InvalidItem(f"data.body must contain exactly one of {', '.join(BODIES)}; found {found}")
    kind = present[0]
    # A key with null counts as absent from here on.
    for name in BODIES:
        if name != kind:
            body.pop(name, None)
    value = body[kind]
    where = f"data.body.{kind}"
    if kind == "trace":
        return kind, _trace(value, where)
    if kind == "trace_chain":
        if not isinstance(value, list) or not value:
            raise InvalidItem(f"{where} must be a list of at least one trace")
        titles = [_trace(trace, f"{where}[{number}]") for number, trace in enumerate(value)]
        return kind, titles[0]
    key = "body" if kind == "message" else "raw"
    if not isinstance(value, dict) or not isinstance(value.get(key), str):
        raise InvalidItem(f"{where}.{key} is required and must be a string")
    return kind, _first_line(value[key])


def _trace(trace: Any, where: str) -> str:
    if not isinstance(trace, dict):
        raise InvalidItem(f"{where} must be an object")
    frames = trace.get("frames")
    if not isinstance(frames, list):
        raise InvalidItem(f"{where}.frames is required and must be a list")
    for number, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("filename"), str):
            raise InvalidItem(f"{where}.frames[{number}].filename is required and must be a string")
        if not isinstance(frame.get("method"), str | None):
            raise InvalidItem(f"{where}.frames[{number}].method must be a string")
    exception = trace.get("exception")
    if not isinstance(exception, dict) or not isinstance(exception.get("class"), str):
        raise InvalidItem(f"{where}.exception.class is required and must be a string")
    message = exception.get("message")
    return _first_line(f"{exception['class']}: {message}" if isinstance(message, str) and message else exception["class"])


def _string(data: Mapping[str, Any], key: str, longest: int | None) -> str:
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidItem(f"data.{key} must be a string")
    if longest is not None and len(value) > longest:
        raise InvalidItem(f"data.{key} must have at most {longest} characters, not {len(value)}")
    return value


def _timestamp(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value < _LAST_TIMESTAMP:
        raise InvalidItem("data.timestamp must be a Unix timestamp in seconds")
    return int(value)


def _loose(value: Any) -> str:
    """A descriptive field: of any type on the wire, kept as text, unknown when it is absent."""
    return value[:255] if isinstance(value, str) and value else "unknown"


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:TITLE_LENGTH]


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _deeper_than(document: Any, depth: int) -> bool:
    """Whether containers are nested deeper than ``depth``. Without recursion, for that is what it guards against."""
    level = [document]
    while level:
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, dict | list)
        ]
        depth -= 1
        if depth < 0:
            return True
    return False
