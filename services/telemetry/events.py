"""Log events: one structured line for each request, after the response, and whatever the application adds.

An event is a flat mapping with ``event``, ``time``, ``trace_id`` and ``run``. Each backend that takes logs adds a sink; a sink
queues and returns, it never waits for a network. Events are not :mod:`logging` records of the application's loggers: those
go to standard error, and a backend's client that logs cannot feed its own backend.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.telemetry.identity import RequestIdentity

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_log = logging.getLogger(__name__)

Field = str | int | float | bool | None


@dataclass(frozen=True)
class Event:
    """One log event. ``text`` is for people; ``fields`` is everything, ``text`` excepted."""

    name: str
    #: Epoch seconds.
    time: float
    text: str
    fields: Mapping[str, Field]
    identity: RequestIdentity


Sink = Callable[[Event], None]


class Events:
    """Gives each event to every sink. A sink that raises loses the event, never the request."""

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self._sinks = tuple(sinks)

    def emit(self, name: str, identity: RequestIdentity, text: str, fields: Mapping[str, Field], when: float | None = None) -> None:
        """Write an event; ``time``, ``trace_id`` and ``run`` are added here."""
        when = time.time() if when is None else when
        stamp = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        common: dict[str, Field] = {"event": name, "time": stamp, "trace_id": identity.trace_id}
        if identity.run is not None:
            common["run"] = identity.run
        event = Event(name, when, text, {**common, **fields}, identity)
        for sink in self._sinks:
            try:
                sink(event)
            except Exception:
                _log.exception("a log event could not be queued")

    def request(self, identity: RequestIdentity, environ: WSGIEnvironment, status: int, started: float) -> None:
        """Write the line of a finished request."""
        now = time.time()
        address, method = environ.get("REMOTE_ADDR", ""), environ.get("REQUEST_METHOD", "")
        scheme, path = (
            environ.get("wsgi.url_scheme", ""),
            environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace"),
        )
        self.emit(
            "request",
            identity,
            f"{address} {method} {scheme} {path} {status}",
            {
                "address": address,
                "method": method,
                "scheme": scheme,
                "path": path,
                "status": status,
                "duration_ms": round((now - started) * 1000, 3),
            },
            now,
        )
