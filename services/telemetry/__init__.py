"""Telemetry of the services: one module a backend, switched on in one place, :func:`start`.

It lies beside the services, not inside cruddur, because profiles is instrumented by the same code; neither service imports
the other. A backend that is off is not imported. A backend that is down, hanging or wrong costs no request: whatever talks
to a network does so on a thread of its own, with a bounded queue, and gives up within :data:`SHUTDOWN_GRACE` seconds when the
process ends.

Modules: ``identity`` (which trace, run and decision a request belongs to), ``events`` (the log lines), ``opentelemetry``,
``xray``, ``cloudwatch``, ``rollbar`` (one backend's SDK each), ``xray_emitter`` (X-Ray's documents to the daemon), ``sampling``
(X-Ray's sampling rules) and ``delivery`` (sending again, and counting what could not be delivered).
"""

from __future__ import annotations

import atexit
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Literal, Protocol

from compose.settings import Settings, SignalPath
from services.telemetry import events
from services.telemetry.identity import IdentityMiddleware

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy import Engine

    from services.telemetry.cloudwatch import CloudWatch
    from services.telemetry.opentelemetry import OpenTelemetry
    from services.telemetry.rollbar import Rollbar
    from services.telemetry.sampling import XRayRules
    from services.telemetry.xray import XRay

#: Seconds a process may spend at its end on delivering what is still queued.
SHUTDOWN_GRACE = 5.0

Value = str | bool | int | float
Level = Literal["critical", "error", "warning", "info", "debug"]


class TelemetryError(Exception):
    """Telemetry cannot be switched on as it is installed. The message is one line: what is wrong and what to do."""


class Span(Protocol):
    """What the services need of a span."""

    def set_attribute(self, key: str, value: Value, /) -> None: ...


class Subsegment(Protocol):
    """What the services need of an X-Ray subsegment."""

    def put_annotation(self, key: str, value: Value, /) -> None: ...

    def put_metadata(self, key: str, value: Any, namespace: str = ..., /) -> None: ...


class _Nothing:
    """Span and subsegment of a backend that is off."""

    def set_attribute(self, key: str, value: Value, /) -> None:
        pass

    def put_annotation(self, key: str, value: Value, /) -> None:
        pass

    def put_metadata(self, key: str, value: Any, namespace: str = "default", /) -> None:
        pass


_NOTHING = _Nothing()


@dataclass(frozen=True)
class Service:
    """How a service presents itself.

    ``name``: OpenTelemetry's ``service.name``. ``segment``: the X-Ray SDK's segment name. ``log_events`` and ``errors``: whether
    it writes log events and reports to Rollbar; a request has one line and one item, so only the service it came to does.
    """

    name: str
    segment: str
    log_events: bool
    errors: bool


class Telemetry:
    """The backends of one service in one process. Make it with :func:`start`."""

    def __init__(self) -> None:
        self._opentelemetry: OpenTelemetry | None = None
        self._xray: XRay | None = None
        self._cloudwatch: CloudWatch | None = None
        self._rollbar: Rollbar | None = None
        self._stop_lock = Lock()
        self._stopped = False

    def span(self, tracer: str, name: str) -> AbstractContextManager[Span]:
        """A custom OpenTelemetry span around a block; an exception that leaves the block is recorded on it."""
        return nullcontext(_NOTHING) if self._opentelemetry is None else self._opentelemetry.span(tracer, name)

    def subsegment(self, name: str) -> AbstractContextManager[Subsegment]:
        """A subsegment of the X-Ray SDK around a block; an exception that leaves the block is recorded on it."""
        return nullcontext(_NOTHING) if self._xray is None else self._xray.subsegment(name)

    def count(self, counter: str, unit: str, description: str) -> None:
        """Add one to an OpenTelemetry counter, with the run of the current request."""
        if self._opentelemetry is not None:
            self._opentelemetry.count(counter, unit, description)

    def report_message(self, message: str, level: Level) -> None:
        """Report a message to Rollbar."""
        if self._rollbar is not None:
            self._rollbar.report_message(message, level)

    def instrument_engine(self, engine: Engine) -> None:
        """Trace the statements of a SQLAlchemy engine."""
        if self._opentelemetry is not None:
            self._opentelemetry.instrument_engine(engine)

    def stop(self) -> None:
        """Deliver what is queued and stop every backend, all at once, within about SHUTDOWN_GRACE seconds. Harmless when repeated."""
        with self._stop_lock:
            if self._stopped:
                return
            self._stopped = True
        backends = (self._opentelemetry, self._cloudwatch, self._xray)
        threads = [Thread(target=backend.stop, args=(SHUTDOWN_GRACE,), daemon=True) for backend in backends if backend is not None]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SHUTDOWN_GRACE + 2)


def start(app: Flask, service: Service, settings: Settings) -> Telemetry:
    """Switch on the backends of ``settings.paths`` for ``app``. The only place that decides what runs.

    Call it in the process that serves requests, after gunicorn's fork: exporters and pollers are threads, and threads do not
    survive a fork. Without ``--preload`` gunicorn calls the application factory in each worker, so the factory is the place.
    """
    telemetry = Telemetry()
    paths = settings.paths
    on_otlp = paths & {SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_OTLP, SignalPath.CLOUDWATCH_OTLP}
    traces = bool(paths & {SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_OTLP})
    measures = bool(paths & {SignalPath.HONEYCOMB_OTLP, SignalPath.CLOUDWATCH_OTLP})
    xray_sdk = SignalPath.XRAY_SDK in paths
    sinks: list[events.Sink] = []

    rules: XRayRules | None = None
    if SignalPath.XRAY_OTLP in paths or xray_sdk:
        from services.telemetry.sampling import XRayRules

        rules = XRayRules(service.segment, settings)
    # The order matters where an SDK hooks into Flask: the span first, so that it is the outermost.
    if on_otlp:
        from services.telemetry.opentelemetry import OpenTelemetry

        telemetry._opentelemetry = OpenTelemetry(
            app, service.name, settings, traces=traces, metrics=measures, logs=measures and service.log_events, rules=rules
        )
        if measures and service.log_events:
            sinks.append(telemetry._opentelemetry.log)
    if xray_sdk:
        from services.telemetry.xray import XRay

        assert rules is not None
        telemetry._xray = XRay(app, service.segment, settings, rules)
        if telemetry._opentelemetry is not None:
            telemetry._opentelemetry.also_count("segments", telemetry._xray.tally)
    if SignalPath.CLOUDWATCH_WATCHTOWER in paths and service.log_events:
        from services.telemetry.cloudwatch import CloudWatch

        telemetry._cloudwatch = CloudWatch(settings)
        sinks.append(telemetry._cloudwatch.log)
    if SignalPath.ROLLBAR_SDK in paths and service.errors:
        from services.telemetry.rollbar import Rollbar

        telemetry._rollbar = Rollbar(app, settings)

    if paths:
        log = events.Events(sinks) if sinks else None
        app.extensions["events"] = log
        # Outermost: everything the SDKs do happens inside, and the request line is written when all of it is over.
        app.wsgi_app = IdentityMiddleware(app.wsgi_app, log)  # type: ignore[method-assign]
    app.extensions["telemetry"] = telemetry
    atexit.register(telemetry.stop)
    return telemetry


def of(app: Flask) -> Telemetry:
    """The telemetry that :func:`start` gave to ``app``."""
    telemetry = app.extensions["telemetry"]
    assert isinstance(telemetry, Telemetry)
    return telemetry
