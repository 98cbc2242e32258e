"""Which trace, run and sampling decision a request belongs to: decided once, before any SDK sees the request.

OpenTelemetry and the X-Ray SDK each read their own header and invent an id when it is missing; left alone, a request that
carries only one of the headers, or none, gets two trace ids. So the outermost WSGI layer settles the matter and hands each
SDK the header it reads:

* A valid ``traceparent`` wins. The X-Ray header is made to agree (its ``Parent`` stays, if it belongs to the same trace).
* Else a valid ``X-Amzn-Trace-Id`` counts. ``Sampled=?`` or no ``Sampled`` leaves the decision to this service.
* Else a new id is made in X-Ray's form, whose first eight hexadecimal digits are the epoch seconds.
* What is malformed is removed, so that no SDK takes it differently.
* The run comes from the W3C baggage key ``run``; a value that does not fit :data:`RUN_PATTERN` is removed, since it would
  become an attribute of every metric.

Sources: W3C "Trace Context" and "Baggage"; AWS X-Ray Developer Guide, "Tracing header".
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from services.telemetry.events import Events

RUN_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ROOT = re.compile(r"1-([0-9a-fA-F]{8})-([0-9a-fA-F]{24})")
_PARENT = re.compile(r"(?!0{16})[0-9a-fA-F]{16}")


@dataclass
class RequestIdentity:
    """The identity of one request. Trace and span ids are lower-case hexadecimal, 32 and 16 digits."""

    trace_id: str
    #: The caller's span or segment, or None where the request starts the trace.
    parent_id: str | None
    #: The caller's decision; None leaves it to this service.
    sampled: bool | None
    run: str | None
    #: This service's own server span, once there is one.
    span_id: str | None = None
    _decision: str | bool | None = field(default=None, repr=False)

    @property
    def xray_trace_id(self) -> str:
        """The trace id as X-Ray writes it: ``1-<8 hex>-<24 hex>``."""
        return f"1-{self.trace_id[:8]}-{self.trace_id[8:]}"

    @property
    def sampled_here(self) -> bool:
        """The decision as far as it is known: the caller's, else this service's, else no."""
        return bool(self._decision) if self.sampled is None else self.sampled

    def decide(self, rule: Callable[[], str | bool]) -> str | bool:
        """Whether this service samples the request: a true value (the name of X-Ray's rule, if one matched) or False.

        ``rule`` is asked at most once a request, whoever asks first: OpenTelemetry and the X-Ray SDK come to the same decision,
        and a rule's reservoir is charged once.
        """
        if self.sampled is not None:
            return self.sampled
        if self._decision is None:
            self._decision = rule()
        return self._decision


_current: ContextVar[RequestIdentity | None] = ContextVar("parallax_request_identity", default=None)


def current() -> RequestIdentity | None:
    """The identity of the request this code runs for, or None outside a request."""
    return _current.get()


def _run_of(baggage: str) -> tuple[str | None, str]:
    """Split a ``baggage`` header into the run, if it is a valid one, and the header without invalid runs."""
    run, kept = None, []
    for part in baggage.split(","):
        member = part
        key, _, value = member.partition(";")[0].partition("=")
        if key.strip() == "run":
            text = unquote(value.strip())
            if run is not None or not RUN_PATTERN.fullmatch(text):
                continue
            run = text
            # Rewritten without properties: OpenTelemetry's propagator would take them for a part of the value.
            member = f"run={run}"
        kept.append(member)
    return run, ",".join(kept)


def settle(environ: WSGIEnvironment) -> RequestIdentity:
    """Decide the identity of a request, and make the headers in ``environ`` agree with it."""
    run = None
    if "HTTP_BAGGAGE" in environ:
        run, environ["HTTP_BAGGAGE"] = _run_of(environ["HTTP_BAGGAGE"])
        if not environ["HTTP_BAGGAGE"]:
            del environ["HTTP_BAGGAGE"]

    xray = dict(pair.strip().split("=", 1) for pair in environ.get("HTTP_X_AMZN_TRACE_ID", "").split(";") if "=" in pair)
    root = _ROOT.fullmatch(xray.get("Root", ""))
    xray_trace = "".join(root.groups()).lower() if root and int(root[2], 16) else None
    xray_parent = xray["Parent"].lower() if xray_trace and _PARENT.fullmatch(xray.get("Parent", "")) else None
    flag = xray.get("Sampled") if xray_trace else None

    w3c = _TRACEPARENT.fullmatch(environ.get("HTTP_TRACEPARENT", "").strip())
    if w3c and not (w3c[1] == "00" and w3c[5]):
        sampled: bool | None = bool(int(w3c[4], 16) & 1)
        identity = RequestIdentity(w3c[2], w3c[3], sampled, run)
        xray_parent = xray_parent if xray_trace == identity.trace_id and xray_parent else identity.parent_id
        flag = "1" if sampled else "0"
    else:
        environ.pop("HTTP_TRACEPARENT", None)
        environ.pop("HTTP_TRACESTATE", None)
        trace_id = xray_trace or f"{int(time.time()):08x}{secrets.token_hex(12)}"
        identity = RequestIdentity(trace_id, xray_parent, {"1": True, "0": False}.get(flag or ""), run)

    header = [f"Root={identity.xray_trace_id}"]
    if xray_parent:
        header.append(f"Parent={xray_parent}")
    if flag in ("0", "1", "?"):
        header.append(f"Sampled={flag}")
    environ["HTTP_X_AMZN_TRACE_ID"] = ";".join(header)
    return identity


class IdentityMiddleware:
    """Outermost WSGI layer: settles the identity, and writes the request's log line when the whole response is out."""

    def __init__(self, app: WSGIApplication, events: Events | None) -> None:
        self._app = app
        self._events = events

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = time.time()
        identity = settle(environ)
        status = 500

        def remember_status(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            nonlocal status
            status = int(line.split(" ", 1)[0])
            return start_response(line, headers, exc_info) if exc_info else start_response(line, headers)

        def finished() -> None:
            if self._events is not None:
                self._events.request(identity, environ, status, started)

        token = _current.set(identity)
        try:
            body = self._app(environ, remember_status)
        except BaseException:
            finished()
            raise
        finally:
            _current.reset(token)
        return _Body(body, finished)


class _Body:
    """The response's body; ``close`` is called by the server when it has been sent, or the client has gone."""

    def __init__(self, body: Iterable[bytes], finished: Callable[[], None]) -> None:
        self._body = body
        self._finished = finished

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._finished()
