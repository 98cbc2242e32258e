"""Expected signals: what each backend must show for each route and outcome. The one declaration.

Compare decides its verdicts from :func:`expected`, the tests hold the application against it, and
``docs/signals.md`` is generated from it. Nothing repeats it, and this module imports nothing of the application, so that
the load generator and compare can read it cheaply.

A *request* is described by its route (Flask's rule with the method, see :class:`Route`), the outcome the load generator
asked for (:class:`Outcome`) and the status it was answered with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from compose.settings import SignalPath

#: Names that cross module borders. The application emits them, the table below expects them.
OTEL_SERVICE: Final = "cruddur"
OTEL_DOWNSTREAM_SERVICE: Final = "profiles"
XRAY_SEGMENT: Final = "Cruddur"
XRAY_DOWNSTREAM_SEGMENT: Final = "Profiles"
HOME_TRACER: Final = "home.activities"
HOME_SPAN: Final = "home.activities"
CREATE_MESSAGE_SPAN: Final = "messages.create"
HOME_SUBSEGMENT: Final = "HomeActivities"
USER_SUBSEGMENT: Final = "UserData"
REQUEST_EVENT: Final = "request"
HOME_EVENT: Final = "home"
MESSAGES_CREATED: Final = "messages.created"
REQUEST_DURATION: Final = "http.server.request.duration"
PROFILES_RULE: Final = "/api/profiles/<string:handle>"


class Route(StrEnum):
    """Every route of cruddur, as ``METHOD rule``; the rule is what OpenTelemetry reports as ``http.route``."""

    HOME = "GET /api/activities/home"
    NOTIFICATIONS = "GET /api/activities/notifications"
    USER = "GET /api/activities/@<string:handle>"
    SEARCH = "GET /api/activities/search"
    CREATE_ACTIVITY = "POST /api/activities"
    REPLY = "POST /api/activities/<string:activity_uuid>/reply"
    MESSAGE_GROUPS = "GET /api/message_groups"
    MESSAGES = "GET /api/messages/@<string:handle>"
    CREATE_MESSAGE = "POST /api/messages"
    HEALTH_CHECK = "GET /api/health-check"
    ROLLBAR_TEST = "GET /rollbar/test"
    UNMATCHED = "GET <unmatched>"

    @property
    def method(self) -> str:
        return self.value.split(" ", 1)[0]

    @property
    def rule(self) -> str:
        return self.value.split(" ", 1)[1]


class Outcome(StrEnum):
    """What the load generator asked for."""

    OK = "ok"
    BAD_INPUT = "bad_input"
    NOT_FOUND = "not_found"
    SLOW = "slow"
    EXCEPTION = "exception"
    DOWNSTREAM_ERROR = "downstream_error"
    DOWNSTREAM_SLOW = "downstream_slow"


class Operation(StrEnum):
    """What a request did that more than one path shows, each in its own words: a span, a subsegment and a log event of the same work."""

    REQUEST = "request"
    HOME = "home"
    USER = "user"
    CREATE_MESSAGE = "create message"
    PROFILES = "profiles"


Kind = Literal["span", "segment", "subsegment", "log", "item"]


@dataclass(frozen=True)
class Signal:
    """One thing a backend must show for a request.

    ``service``: ``service.name`` of a span, name of the segment that a segment or subsegment belongs to, log group's
    role (``request`` lines come from service ``cruddur``), or the Rollbar environment's project (``cruddur``).
    ``name``: span name, segment or subsegment name, the log line's ``event``, or the item's level (``error``, ``warning``).
    ``attributes``: keys that must be present with a value (attributes, annotations, ``metadata`` keys, JSON keys).
    ``values``: keys that must be present with exactly this value.

    ``operation``: what it shows; signals of the same operation on different paths are the same work. (An item of an unhandled exception
    shows whatever failed, which depends on the request.)

    ``name`` is empty where any name will do: the span of a request that no rule matched is named after its path.
    """

    path: SignalPath
    kind: Kind
    service: str
    name: str
    attributes: frozenset[str] = frozenset()
    values: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    operation: Operation = Operation.REQUEST

    def __str__(self) -> str:
        return f"{self.kind} {self.name or '*'} ({self.service})"


#: Routes on which cruddur asks profiles, once the input proved good.
CALLS_PROFILES: Final = frozenset({Route.USER, Route.MESSAGES})

#: JSON keys of the two log events, and attributes of the two OTLP log records; ``event`` is the record's event name there.
REQUEST_LOG_KEYS: Final = frozenset({"time", "address", "method", "scheme", "path", "status", "trace_id", "run", "duration_ms"})
HOME_LOG_KEYS: Final = frozenset({"time", "trace_id", "run", "result_length"})


def expected(route: Route, outcome: Outcome, status: int | None) -> tuple[Signal, ...]:
    """The signals every path must show for one sampled request that was answered with ``status``.

    What really happened decides, so the status comes before the outcome: a fault that was asked for and not granted
    (``SANDBOX=false``) leaves no trace. ``status`` None means that nobody saw an answer; then nothing can be said, and the
    result is empty: what arrives all the same is explained by the ledger line, what does not is no loss.

    Only what is certain is here. An application may show more (database spans, the client span to profiles, whose name
    depends on PROFILES_URL), never less.
    """
    if status is None:
        return ()
    unmatched = route is Route.UNMATCHED or status == 405  # no rule matched: nothing of the view ran
    run = frozenset({"run"})
    signals: list[Signal] = []

    # The request itself.
    server: dict[str, str | int | float | bool] = {"http.request.method": route.method, "http.response.status_code": status}
    if not unmatched:
        server["http.route"] = route.rule
    name = "" if unmatched else route.value
    signals += [
        Signal(SignalPath.HONEYCOMB_OTLP, "span", OTEL_SERVICE, name, run, server),
        Signal(SignalPath.XRAY_OTLP, "segment", OTEL_SERVICE, OTEL_SERVICE, run),
        Signal(SignalPath.XRAY_SDK, "segment", XRAY_SEGMENT, XRAY_SEGMENT, run),
    ]
    line: dict[str, str | int | float | bool] = {"method": route.method, "status": status}
    for path in _LOG_PATHS:
        signals.append(Signal(path, "log", OTEL_SERVICE, REQUEST_EVENT, REQUEST_LOG_KEYS, line))

    if unmatched:
        return tuple(signals)

    failed = status == 500  # an unhandled exception, asked for or not

    # What the view adds.
    if route is Route.HOME and (status == 200 or (failed and outcome is Outcome.EXCEPTION)):
        # The fault is raised inside the span, before there is a result.
        attributes = run | {"app.now"} | (set() if failed else {"app.result_length"})
        signals += [
            Signal(SignalPath.HONEYCOMB_OTLP, "span", OTEL_SERVICE, HOME_SPAN, attributes, operation=Operation.HOME),
            Signal(SignalPath.XRAY_OTLP, "subsegment", OTEL_SERVICE, HOME_SPAN, attributes, operation=Operation.HOME),
            Signal(
                SignalPath.XRAY_SDK,
                "subsegment",
                XRAY_SEGMENT,
                HOME_SUBSEGMENT,
                frozenset() if failed else frozenset({"result_length"}),
                operation=Operation.HOME,
            ),
        ]
        if not failed:
            signals += [Signal(path, "log", OTEL_SERVICE, HOME_EVENT, HOME_LOG_KEYS, operation=Operation.HOME) for path in _LOG_PATHS]
    if route is Route.USER and (status in (200, 404, 502, 504) or (failed and outcome is Outcome.EXCEPTION)):
        signals.append(
            Signal(
                SignalPath.XRAY_SDK,
                "subsegment",
                XRAY_SEGMENT,
                USER_SUBSEGMENT,
                frozenset({"username", "timestamp", "handle"}) | (set() if failed or status == 404 else {"activity_count"}),
                operation=Operation.USER,
            )
        )
    if route is Route.CREATE_MESSAGE and (status == 201 or (failed and outcome is Outcome.EXCEPTION)):
        attributes = run | {"user.id", "message.length", "message.text"} | (set() if failed else {"app.created_at"})
        signals += [
            Signal(SignalPath.HONEYCOMB_OTLP, "span", OTEL_SERVICE, CREATE_MESSAGE_SPAN, attributes, operation=Operation.CREATE_MESSAGE),
            Signal(SignalPath.XRAY_OTLP, "subsegment", OTEL_SERVICE, CREATE_MESSAGE_SPAN, attributes, operation=Operation.CREATE_MESSAGE),
        ]
    # Asked and answered, or made to fail by a fault that only profiles can carry out. Without either, a 502 or 504 may
    # mean that profiles was never reached.
    asked_to_fail = outcome in (Outcome.DOWNSTREAM_ERROR, Outcome.DOWNSTREAM_SLOW) and status in (502, 504)
    if route in CALLS_PROFILES and (status == 200 or asked_to_fail):
        profiles: dict[str, str | int | float | bool] = {"http.route": PROFILES_RULE}
        signals += [
            Signal(SignalPath.HONEYCOMB_OTLP, "span", OTEL_DOWNSTREAM_SERVICE, f"GET {PROFILES_RULE}", run, profiles, Operation.PROFILES),
            Signal(SignalPath.XRAY_OTLP, "segment", OTEL_DOWNSTREAM_SERVICE, OTEL_DOWNSTREAM_SERVICE, run, operation=Operation.PROFILES),
            Signal(SignalPath.XRAY_SDK, "segment", XRAY_DOWNSTREAM_SEGMENT, XRAY_DOWNSTREAM_SEGMENT, run, operation=Operation.PROFILES),
        ]

    # Rollbar hears of unhandled exceptions, and of the one message its own route sends.
    custom = frozenset({"trace_id", "run"})
    if failed:
        signals.append(Signal(SignalPath.ROLLBAR_SDK, "item", OTEL_SERVICE, "error", custom))
    elif route is Route.ROLLBAR_TEST and status == 200:
        signals.append(Signal(SignalPath.ROLLBAR_SDK, "item", OTEL_SERVICE, "warning", custom))
    return tuple(signals)


#: Ways by which log events leave. Honeycomb takes the OTLP records beside the spans.
_LOG_PATHS: Final = (SignalPath.CLOUDWATCH_WATCHTOWER, SignalPath.CLOUDWATCH_OTLP, SignalPath.HONEYCOMB_OTLP)


@dataclass(frozen=True)
class Metric:
    """A metric whose total over a run the ledger can foretell.

    ``count``: how much one answered request adds to the total (a histogram's count, a counter's sum).
    ``attributes``: keys of its data points; all carry ``run``.
    """

    name: str
    kind: Literal["histogram", "counter"]
    unit: str
    service: str
    attributes: frozenset[str]
    count: Callable[[Route, Outcome, int | None], int]


METRICS: Final = (
    Metric(
        REQUEST_DURATION,
        "histogram",
        "s",
        OTEL_SERVICE,
        frozenset({"run", "http.request.method", "http.route", "http.response.status_code"}),
        lambda _route, _outcome, status: 0 if status is None else 1,
    ),
    Metric(
        MESSAGES_CREATED,
        "counter",
        "{message}",
        OTEL_SERVICE,
        frozenset({"run"}),
        lambda route, _outcome, status: 1 if route is Route.CREATE_MESSAGE and status == 201 else 0,
    ),
)


def main(arguments: list[str]) -> int:
    """Print the table as Markdown, or write it to ``docs/signals.md``."""
    from compose.settings import ROOT
    from services.cruddur.signals_markdown import render

    if arguments == ["--write"]:
        (ROOT / "docs" / "signals.md").write_text(render(), encoding="utf-8")
    elif arguments:
        print("usage: python -m services.cruddur.signals [--write]", file=sys.stderr)
        return 2
    else:
        print(render(), end="")
    return 0


if __name__ == "__main__":
    # The module under its own name: as __main__ its enumerations would be others than those the renderer imports.
    from services.cruddur import signals

    sys.exit(signals.main(sys.argv[1:]))
