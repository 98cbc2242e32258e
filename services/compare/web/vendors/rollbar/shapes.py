"""An occurrence's payload as it is shown. Pure; and whoever may send may send anything, so that nothing here trusts a type.

The payload is ``data`` of "Create an item" (Rollbar API reference): ``body`` holds one of ``trace``, ``trace_chain`` (an exception and
what caused it), ``message`` and ``crash_report``; of a trace ``frames`` run from the outermost call to the one that failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.compare.readers.base import mapping, text
from services.compare.readers.rollbar import LEVELS

#: Frames of one trace that are shown; the raw data has them all.
FRAMES = 200


@dataclass(frozen=True)
class Frame:
    """One call. ``before`` and ``after``: lines of code around ``code``. ``own``: of the application itself, not of a library."""

    filename: str
    line: Any
    method: str
    code: str
    before: Sequence[str]
    after: Sequence[str]
    values: Sequence[tuple[str, Any]]
    own: bool


@dataclass(frozen=True)
class Trace:
    """An exception with its stack. ``left_out``: frames beyond those shown."""

    kind: str
    message: str
    description: str
    frames: Sequence[Frame]
    left_out: int = 0


@dataclass(frozen=True)
class Occurrence:
    """``timestamp`` epoch seconds or None. ``traces``: the exception first, then what caused it. ``facts``: names and values."""

    id: Any
    item_id: Any
    timestamp: float | None
    level: str
    title: str
    trace_id: str | None
    run: str | None
    traces: Sequence[Trace]
    message: str | None
    crash_report: str | None
    custom: Sequence[tuple[str, Any]]
    request: Sequence[tuple[str, Any]]
    person: Sequence[tuple[str, Any]]
    server: Sequence[tuple[str, Any]]
    facts: Sequence[tuple[str, Any]]


def seconds(value: Any) -> float | None:
    """A time in epoch seconds where it is one that a calendar has."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 <= value < 32_503_680_000 else None


def level(value: Any) -> str:
    """A level's word, from the word or the number that Rollbar gives it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return LEVELS.get(value, str(value))
    return text(value) or "error"


def occurrence(instance: Mapping[str, Any]) -> Occurrence:
    """What "Get an occurrence" answers."""
    data = mapping(instance.get("data"))
    body, custom = mapping(data.get("body")), mapping(data.get("custom"))
    root = text(mapping(data.get("server")).get("root")) or ""
    several = body.get("trace_chain")
    chain = several if isinstance(several, list) else [body["trace"]] if "trace" in body else []
    traces = [_trace(mapping(each), root) for each in chain]
    message = _string(mapping(body.get("message")).get("body")) if "message" in body else None
    crash = _string(mapping(body.get("crash_report")).get("raw")) if "crash_report" in body else None
    first = f"{traces[0].kind}: {traces[0].message}" if traces else None
    facts = ("uuid", "environment", "framework", "language", "platform", "context", "code_version", "fingerprint", "title", "notifier")
    return Occurrence(
        id=instance.get("id"),
        item_id=instance.get("item_id"),
        timestamp=seconds(instance.get("timestamp")),
        level=level(data.get("level")),
        title=text(data.get("title")) or first or message or (crash or "").split("\n", 1)[0] or "(no title)",
        trace_id=text(custom.get("trace_id")),
        run=text(custom.get("run")),
        traces=traces,
        message=message,
        crash_report=crash,
        custom=_pairs(custom),
        request=_pairs(mapping(data.get("request"))),
        person=_pairs(mapping(data.get("person"))),
        server=_pairs(mapping(data.get("server"))),
        facts=[(name, data[name]) for name in facts if data.get(name) not in (None, "")],
    )


def _trace(trace: Mapping[str, Any], root: str) -> Trace:
    exception = mapping(trace.get("exception"))
    listed = trace.get("frames")
    frames = [mapping(each) for each in listed] if isinstance(listed, list) else []
    # The last ones are nearest to what failed.
    return Trace(
        kind=_string(exception.get("class")) or "(no class)",
        message=_string(exception.get("message")),
        description=_string(exception.get("description")),
        frames=[_frame(each, root) for each in frames[-FRAMES:]],
        left_out=max(0, len(frames) - FRAMES),
    )


def _frame(frame: Mapping[str, Any], root: str) -> Frame:
    filename = _string(frame.get("filename"))
    context = mapping(frame.get("context"))
    arguments = frame.get("args")
    values = [(str(number), value) for number, value in enumerate(arguments)] if isinstance(arguments, list) else []
    values += [*_pairs(mapping(frame.get("keywordspec"))), *_pairs(mapping(frame.get("locals")))]
    return Frame(
        filename=filename,
        line=frame.get("lineno"),
        method=_string(frame.get("method")),
        code=_string(frame.get("code")),
        before=_lines(context.get("pre")),
        after=_lines(context.get("post")),
        values=values,
        own=bool(root) and filename.startswith(root) and "site-packages" not in filename,
    )


def _lines(value: Any) -> list[str]:
    return [_string(line) for line in value] if isinstance(value, list) else []


def _string(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(str(name), value) for name, value in values.items() if value is not None]
