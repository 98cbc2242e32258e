"""A log event as it is shown. Pure; a message may be anything."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.compare.readers.base import mapping, text


@dataclass(frozen=True)
class Line:
    """``at`` epoch seconds, ``ingested`` milliseconds since the epoch or None. ``id``: the vendor's; "" where it gives none.
    ``document``: the message where it is a JSON object, else None."""

    at: float
    ingested: int | None
    id: str
    stream: str
    message: str
    document: Mapping[str, Any] | None
    trace_id: str | None
    run: str | None

    @property
    def clock(self) -> str:
        """The time with its milliseconds, UTC."""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.at)) + f".{round(self.at * 1000) % 1000:03d}"

    @property
    def bad(self) -> bool:
        """Whether it tells of a failure: a status of 500 and above, or a severity of ERROR and above ("Log Data Model", OpenTelemetry)."""
        document = self.document or {}
        attributes = mapping(document.get("attributes")) or document
        status, severity = attributes.get("status"), document.get("severity_number")
        return (isinstance(status, int) and status >= 500) or (isinstance(severity, int) and severity >= 17)


def several_streams(lines: Iterable[Line]) -> bool:
    """Whether it is worth saying of each line from which stream it is."""
    return len({each.stream for each in lines}) > 1


def line(event: Mapping[str, Any]) -> Line:
    """An event of GetLogEvents or FilterLogEvents.

    The application's own lines hold ``trace_id`` and ``run``; of a record that the Collector wrote ``run`` is among its attributes.
    """
    message = event["message"]
    try:
        document = json.loads(message) if message.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        document = None
    values = mapping(document)
    attributes = mapping(values.get("attributes"))
    return Line(
        at=event["timestamp"] / 1000,
        ingested=event.get("ingestionTime"),
        id=event.get("eventId", ""),
        stream=event.get("logStreamName", ""),
        message=message,
        document=values if isinstance(document, dict) else None,
        trace_id=text(values.get("trace_id")) or text(attributes.get("trace_id")),
        run=text(values.get("run")) or text(attributes.get("run")),
    )
