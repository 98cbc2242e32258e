"""Rollbar: unhandled exceptions by Flask's signal, and messages, each with the trace, the span and the run under ``custom``.

pyrollbar's ``thread`` handler posts each item from a thread of its own and does not retry: what fails is lost, and logged. Its
posts are kept out of the traces: the OpenTelemetry instrumentation excludes Rollbar's URL, and the X-Ray SDK has no segment
on that thread.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import rollbar
import rollbar.contrib.flask
from flask import request

from compose.settings import ROOT, Settings
from services.telemetry.identity import current

if TYPE_CHECKING:
    from flask import Flask

    from services.telemetry import Level

#: Seconds a post may take; the process waits for posts under way when it ends.
_TIMEOUT = 3


class _NoTraceback(logging.Filter):
    """pyrollbar logs each post that fails with the whole stack of its HTTP client; the reason is enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            record.msg, record.args, record.exc_info = "Rollbar: an item was lost (%s)", (record.exc_info[1],), None
        return True


class Rollbar:
    """pyrollbar of one process, hooked into ``app``."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        rollbar.contrib.flask.init(
            app,
            settings.rollbar_access_token.get_secret_value(),
            environment=settings.rollbar_environment,
            endpoint=f"{settings.rollbar_endpoint.rstrip('/')}/api/1/",
            handler="thread",
            timeout=_TIMEOUT,
            # Locals of our own frames are sent; a wider root would take in the virtual environment.
            root=str(ROOT / "services"),
            capture_ip="anonymize",
            # The payload holds the access token.
            log_payload_on_error=False,
            allow_logging_basic_config=False,
        )
        rollbar.events.add_payload_handler(_add_identity)
        logging.getLogger("rollbar").addFilter(_NoTraceback())

    def report_message(self, message: str, level: Level) -> None:
        """Report a message."""
        rollbar.report_message(message, level, request=request._get_current_object())  # type: ignore[attr-defined]


def _add_identity(payload: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Runs on the request's thread, before the payload is handed to the sender."""
    identity = current()
    if identity is not None:
        known = {"trace_id": identity.trace_id, "span_id": identity.span_id, "run": identity.run}
        payload["data"].setdefault("custom", {}).update({key: value for key, value in known.items() if value is not None})
    return payload
