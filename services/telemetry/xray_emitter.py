"""Sends what the X-Ray SDK has recorded to the daemon, one UDP datagram a document, and keeps what does not fit into one.

A datagram over IPv4 takes 65,507 bytes, a little less than the 64 KB of a document ("Quotas", X-Ray developer guide). The SDK's own
emitter fails on a larger segment, logs a traceback and loses it with all its subsegments. Here, as far as it is needed:

1. The subsegments are sent on their own (``type: subsegment``, ``parent_id``), as the SDK itself does with more than 30 of them
   (``streaming_threshold``), and the segment without them. Nothing is lost: X-Ray puts them together again.
2. Values of its metadata, the largest first, give way to a note of their size. They are the one part that nothing indexes.
3. What is still too large is lost.

Each is a log line that names the request, and the documents are counted in :attr:`Emitter.tally`.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
from typing import Any

import flask
import orjson
from aws_xray_sdk.core.emitters.udp_emitter import PROTOCOL_DELIMITER, PROTOCOL_HEADER, UDPEmitter

from services.telemetry.delivery import Tally

_log = logging.getLogger(__name__)

_HEADER = (PROTOCOL_HEADER + PROTOCOL_DELIMITER).encode()

#: Characters of a path that are logged where no rule matched it; it is the client's.
_PATH_LIMIT = 200


class Emitter(UDPEmitter):  # type: ignore[misc]
    """The SDK's emitter with a faster encoder, which neither raises nor blocks."""

    def __init__(self) -> None:
        super().__init__()
        #: Documents of this process; delivered: handed to the system, which is all that UDP lets one know.
        self.tally = Tally()
        #: Documents that went without some of their metadata.
        self.trimmed = 0
        self._lock = threading.Lock()

    def send_entity(self, entity: Any) -> None:
        """Send a segment, or a subsegment that the SDK streams; never raises."""
        self.tally.accept()
        try:
            self._send(entity)
        except Exception:
            # Whatever somebody put into metadata: the request must not fail of it.
            self.tally.give_up(1)
            _log.exception("X-Ray: %s: %s cannot be written as JSON", _request(entity), _what(entity))

    def _send(self, entity: Any) -> None:
        fields = entity.to_dict()
        _account_for_fault(fields)
        document = _encode(fields)
        if self._sent(entity, document):
            return
        if entity.subsegments:
            del fields["subsegments"]
            children = list(entity.subsegments)
            for child in children:
                self.send_entity(child)
            _log.warning(
                "X-Ray: %s: %s has %s bytes, more than a datagram takes. Its %d subsegments were sent on their own; nothing is lost",
                *(_request(entity), _what(entity), f"{len(document):,}", len(children)),
            )
            document = _encode(fields)
            if self._sent(entity, document):
                return
        if not self._sent_without_metadata(entity, fields, len(document)):
            self.tally.give_up(1)
            _log.error(
                "X-Ray: %s: %s of %s bytes is lost: more than a datagram takes, even without subsegments and metadata. "
                "Put less into annotations, SQL texts and exceptions' messages",
                *(_request(entity), _what(entity), f"{len(document):,}"),
            )

    def _sent(self, entity: Any, document: bytes) -> bool:
        """Whether nothing remains to be done for ``document``: False where it is too large."""
        try:
            self._socket.sendto(_HEADER + document, (self._ip, self._port))
        except OSError as error:
            # The system's own word on what is too large: some allow less than UDP does.
            if error.errno == errno.EMSGSIZE:
                return False
            self.tally.give_up(1)
            _log.warning("X-Ray: %s: %s of %d bytes was not sent (%s)", _request(entity), _what(entity), len(document), error)
        else:
            self.tally.deliver(1)
        return True

    def _sent_without_metadata(self, entity: Any, fields: dict[str, Any], size: int) -> bool:
        metadata = fields["metadata"] = {namespace: dict(values) for namespace, values in fields.get("metadata", {}).items()}
        values = [(len(_encode(value)), namespace, key) for namespace, inner in metadata.items() for key, value in inner.items()]
        out: list[str] = []
        for length, namespace, key in sorted(values, key=lambda one: one[0], reverse=True):
            metadata[namespace][key] = f"left out, {length:,} bytes: the document was too large"
            out.append(f"{namespace}.{key} ({length:,} bytes)")
            if self._sent(entity, _encode(fields)):
                with self._lock:
                    self.trimmed += 1
                _log.warning(
                    "X-Ray: %s: %s has %s bytes without subsegments, more than a datagram takes. Left out of its metadata: %s. "
                    "Put less into metadata",
                    *(_request(entity), _what(entity), f"{size:,}", ", ".join(out)),
                )
                return True
        return False


def _account_for_fault(fields: dict[str, Any]) -> None:
    """Give a fault that was set by hand a cause, without exceptions: the Collector's receiver tells faults from causes and HTTP statuses
    alone, and drops the flag (docs/xray-daemon.md). X-Ray shows nothing else.
    """
    if fields.get("fault") and fields.get("http", {}).get("response", {}).get("status", 0) < 500:
        fields.setdefault("cause", {"exceptions": []})
    for subsegment in fields.get("subsegments", ()):
        _account_for_fault(subsegment)


def _encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):
        # What orjson is stricter about, such as a lone surrogate in metadata.
        return json.dumps(value, default=str).encode()


def _what(entity: Any) -> str:
    return f"{'subsegment' if getattr(entity, 'type', '') == 'subsegment' else 'segment'} {entity.name}"


def _request(entity: Any) -> str:
    """Which request a document belongs to: method, route and trace."""
    if not flask.has_request_context():
        return f"trace {entity.trace_id}"
    request = flask.request
    route = request.url_rule.rule if request.url_rule is not None else repr(request.path[:_PATH_LIMIT])
    return f"{request.method} {route}, trace {entity.trace_id}"
