"""Expected signals: what each backend must show for each route and outcome. The one declaration.

Compare decides its verdicts from :func:`expected`, the tests hold the application against it, and
``docs/signals.md`` is generated from it. Nothing repeats it, and this module imports nothing of the application, so that
the load generator and compare can read it cheaply.

A *request* is described by its route (Flask's rule with the method, see :class:`Route`), the outcome the load generator
asked for (:class:`Outcome`) and the status it was answered with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from compose.settings import SignalPath


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


Kind = Literal["span", "segment", "subsegment", "log", "item"]


@dataclass(frozen=True)
class Signal:
    """One thing a backend must show for a request.

    ``service``: ``service.name`` of a span, name of the segment that a segment or subsegment belongs to, log group's
    role (``request`` lines come from service ``cruddur``), or the Rollbar environment's project (``cruddur``).
    ``name``: span name, segment or subsegment name, the log line's ``event``, or the item's level (``error``, ``warning``).
    ``attributes``: keys that must be present with a value (attributes, annotations, ``metadata`` keys, JSON keys).
    ``values``: keys that must be present with exactly this value.
    """

    path: SignalPath
    kind: Kind
    service: str
    name: str
    attributes: frozenset[str] = frozenset()
    values: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.service})"
