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

import orjson
from aws_xray_sdk.core import patch, xray_recorder
from aws_xray_sdk.core.context import Context
from aws_xray_sdk.core.emitters.udp_emitter import PROTOCOL_DELIMITER, PROTOCOL_HEADER, UDPEmitter
from aws_xray_sdk.core.models.dummy_entities import DummySegment
from aws_xray_sdk.ext.flask.middleware import XRayMiddleware

from compose.settings import Settings
from services.telemetry.identity import current
from services.telemetry.sampling import daemon_address

if TYPE_CHECKING:
    from flask import Flask

    from services.telemetry import Subsegment, Value
    from services.telemetry.sampling import XRayRules

_log = logging.getLogger(__name__)

_HEADER = (PROTOCOL_HEADER + PROTOCOL_DELIMITER).encode()

METADATA_NAMESPACE = "cruddur"

#: A document over 64 KB is lost with only a log line. What a client controls (URL, user agent, forwarded address) is cut to
#: this many characters; in the worst case each becomes six bytes of JSON.
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


class _Emitter(UDPEmitter):  # type: ignore[misc]
    """The SDK's emitter with a faster encoder, and a line for what is too large instead of a traceback."""

    def send_entity(self, entity: Any) -> None:
        """Send a segment or subsegment; never raises."""
        try:
            document = orjson.dumps(entity.to_dict(), default=str, option=orjson.OPT_NON_STR_KEYS)
        except (TypeError, ValueError):
            # What orjson is stricter about, such as a lone surrogate in metadata.
            document = entity.serialize().encode()
        try:
            self._socket.sendto(_HEADER + document, (self._ip, self._port))
        except OSError as error:
            _log.warning("X-Ray: segment %s of %d bytes was not sent (%s)", entity.id, len(document), error)


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
        xray_recorder.configure(
            service=segment,
            plugins=(),
            sampling=True,
            sampler=rules,
            context=_RequestContext(),
            emitter=_Emitter(),
            context_missing="IGNORE_ERROR",
            daemon_address=daemon_address(settings),
        )
        XRayMiddleware(app, xray_recorder)
        app.before_request(_complete_segment)
        # Only requests: a patched botocore would trace what watchtower sends, and feed on itself.
        patch(("requests",), raise_errors=True)

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
