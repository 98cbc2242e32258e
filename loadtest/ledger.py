"""The ledger: what the load generator really sent, one JSON line a request. The ground truth of a run.

A run is a folder ``<STATE_DIR>/runs/<run id>/`` with ``manifest.json`` (see :class:`Manifest`) and one
``ledger-<worker>.jsonl`` for each Locust worker. Each line is flushed to the operating system when its request ends, so a killed
Locust leaves every finished request; a line cut in the middle by a power loss is reported, not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LedgerEntry:
    """One request as the load generator saw it."""

    run: str
    #: Position in the seeded order, from 0; unique in a run.
    sequence: int
    #: 32 lower-case hex digits; the first 8 are epoch seconds, so that X-Ray takes it too.
    trace_id: str
    method: str
    #: A services.cruddur.signals.Route value.
    route: str
    #: The path that was requested, with its query.
    target: str
    #: A services.cruddur.signals.Outcome value: what was asked for.
    outcome: str
    #: HTTP status, or None when there was no answer (then ``error`` says why).
    status: int | None
    #: Epoch seconds when the request was sent.
    start: float
    #: Milliseconds until the whole answer was read.
    duration_ms: float
    #: Whether the X-Ray SDK recorded this request: True, False, or None when nobody said (no answer).
    sampled_xray_sdk: bool | None
    #: Whether OpenTelemetry recorded this request.
    sampled_otel: bool | None
    error: str | None = None
