"""The X-Ray SDK: a segment for each request, subsegments, and the call to profiles, by UDP to the daemon.

Sending is one ``sendto`` on a non-blocking UDP socket: a daemon that is down or hanging costs nothing, and what it does not take
is lost by design. Sampling comes from X-Ray's rules (:mod:`services.telemetry.sampling`).

Metadata is in namespace :data:`METADATA_NAMESPACE`; the annotation ``run`` is on every segment.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aws_xray_sdk.core import patch, xray_recorder
from aws_xray_sdk.core.context import Context
from aws_xray_sdk.core.models.dummy_entities import DummySegment
from aws_xray_sdk.ext.flask.middleware import XRayMiddleware

from compose.settings import Settings
from services.telemetry.identity import current
from services.telemetry.sampling import daemon_address
from services.telemetry.xray_emitter import Emitter

if TYPE_CHECKING:
    from flask import Flask

    from services.telemetry import Subsegment, Value
    from services.telemetry.delivery import Tally
    from services.telemetry.sampling import XRayRules

_log = logging.getLogger(__name__)

METADATA_NAMESPACE = "cruddur"

#: What a client controls (URL, user agent, forwarded address) is cut to this many characters, so that nobody outside can make a
#: document too large; in the worst case each becomes six bytes of JSON.
_HTTP_VALUE_LIMIT = 1_024


class _RequestContext(Context):  # type: ignore[misc]
    """Where the SDK keeps the open segment. Outside a request there is an unsampled one, made on demand and kept by nobody.

    The SDK's own strategies are not enough: with IGNORE_ERROR a patched ``requests`` still logs "No segment found" for each
    call outside a request, such as Rollbar's post from its thread.
    """

    def __init__(self) -> None:
        super().__init__(context_missing="IGNORE_ERROR")

    def handle_context_missing(self) -> DummySegment:
        return DummySegment()

    def put_subsegment(self, subsegment: Any) -> None:
        if getattr(self._local, "entities", None):
            super().put_subsegment(subsegment)
        else:
            self._local.entities = [subsegment]


class _Subsegment:
    """A subsegment that takes its metadata into our namespace."""

    def __init__(self, subsegment: Any) -> None:
        self._subsegment = subsegment

    def put_annotation(self, key: str, value: Value, /) -> None:
        self._subsegment.put_annotation(key, value)

    def put_metadata(self, key: str, value: Any, namespace: str = METADATA_NAMESPACE, /) -> None:
        self._subsegment.put_metadata(key, value, namespace)


class XRay:
    """The recorder of one process, hooked into ``app`` and ``requests``."""

    def __init__(self, app: Flask, segment: str, settings: Settings, rules: XRayRules) -> None:
        self._rules = rules
        self._emitter = Emitter()
        xray_recorder.configure(
            service=segment,
            plugins=(),
            sampling=True,
            sampler=rules,
            context=_RequestContext(),
            emitter=self._emitter,
            context_missing="IGNORE_ERROR",
            daemon_address=daemon_address(settings),
        )
        XRayMiddleware(app, xray_recorder)
        app.before_request(_complete_segment)
        # Only requests: a patched botocore would trace what watchtower sends, and feed on itself.
        patch(("requests",), raise_errors=True)

    @property
    def tally(self) -> Tally:
        """What became of the documents."""
        return self._emitter.tally

    def stop(self, _grace: float) -> None:
        """Tell what was lost. Nothing waits: each document was sent, or given up, when its request ended."""
        tally = self.tally
        if tally.given_up:
            _log.warning("X-Ray: %d of %d documents were not sent", tally.given_up, tally.accepted)
        if self._emitter.trimmed:
            _log.warning("X-Ray: %d of %d documents were sent without some of their metadata", self._emitter.trimmed, tally.accepted)

    @contextmanager
    def subsegment(self, name: str) -> Iterator[Subsegment]:
        """A subsegment around a block."""
        with xray_recorder.in_subsegment(name) as subsegment:
            yield _Subsegment(subsegment)


def _complete_segment() -> None:
    """Just after the middleware has begun the segment: the run, and limits on what a client controls."""
    identity = current()
    segment = xray_recorder.current_segment()
    if identity is None:
        return
    if isinstance(segment, DummySegment):
        # An unsampled segment has a trace id of zeros, which would go to the client and to profiles.
        segment.trace_id = identity.xray_trace_id
        return
    if identity.run is not None:
        segment.put_annotation("run", identity.run)
    request = getattr(segment, "http", {}).get("request", {})
    for key, value in request.items():
        if isinstance(value, str):
            request[key] = value[:_HTTP_VALUE_LIMIT]
