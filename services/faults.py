"""Faults a tester can ask for, in the request header ``X-Parallax-Fault``.

``slow=<ms>``
    the route sleeps before it works, at most 30,000 ms
``exception``
    the route raises an exception that nothing handles: 500, reported to Rollbar
``downstream-error``
    profiles fails: cruddur answers 502 (only on routes that call profiles)
``downstream-slow=<ms>``
    profiles sleeps before it answers; beyond PROFILES_TIMEOUT cruddur answers 504 (only on routes that call profiles)

Ignored unless SANDBOX is on. What cannot be understood or carried out is a 400.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from flask import g, request

from services.errors import ApiError

if TYPE_CHECKING:
    from flask import Flask

HEADER = "X-Parallax-Fault"
MAX_MILLISECONDS = 30_000

Kind = Literal["slow", "exception", "downstream-error", "downstream-slow"]

_FAULT = re.compile(r"(?P<timed>slow|downstream-slow)=(?P<ms>[0-9]{1,6})|(?P<plain>exception|downstream-error)")


class InjectedFault(RuntimeError):
    """The exception that ``exception`` raises. Nothing handles it."""


@dataclass(frozen=True)
class Fault:
    kind: Kind
    milliseconds: int = 0

    @property
    def downstream(self) -> bool:
        return self.kind.startswith("downstream-")

    def __str__(self) -> str:
        return f"{self.kind}={self.milliseconds}" if self.kind.endswith("slow") else self.kind


def parse(text: str) -> Fault:
    """Understand the header's value, or raise ValueError that says what is allowed."""
    match = _FAULT.fullmatch(text.strip())
    milliseconds = int(match["ms"]) if match and match["ms"] else 0
    if match is None or milliseconds > MAX_MILLISECONDS:
        raise ValueError(
            f"{HEADER} must be slow=<ms>, exception, downstream-error or downstream-slow=<ms>, with at most {MAX_MILLISECONDS} ms"
        )
    kind: Kind = match["timed"] or match["plain"]  # type: ignore[assignment]
    return Fault(kind, milliseconds)


def install(app: Flask, *, downstream_endpoints: frozenset[str]) -> None:
    """Check the header of every request that has a route; :func:`inject` and :func:`downstream` then act on it."""

    @app.before_request
    def check() -> None:
        text = request.headers.get(HEADER)
        if text is None or request.url_rule is None:
            return
        try:
            fault = parse(text)
        except ValueError as error:
            raise ApiError(400, "bad_fault", str(error)) from None
        if fault.downstream and request.endpoint not in downstream_endpoints:
            raise ApiError(400, "bad_fault", f"{HEADER}: {fault.kind} means nothing here; this route calls no other service")
        g.fault = fault


def inject() -> None:
    """Sleep or raise, as this request asked. Every view calls it, so that the stack of the exception names the view."""
    fault: Fault | None = g.get("fault")
    if fault is None:
        return
    if fault.kind == "slow":
        time.sleep(fault.milliseconds / 1000)
    elif fault.kind == "exception":
        _fail(f"{request.method} {request.url_rule} was asked to fail")


def downstream() -> dict[str, str]:
    """The header that hands a downstream fault on; empty when there is none."""
    fault: Fault | None = g.get("fault")
    return {HEADER: str(fault)} if fault is not None and fault.downstream else {}


def carry_out_downstream() -> None:
    """In the called service: do what the caller's tester asked for."""
    fault: Fault | None = g.get("fault")
    if fault is None:
        return
    if fault.kind == "downstream-slow":
        time.sleep(fault.milliseconds / 1000)
    elif fault.kind == "downstream-error":
        _fail(f"{request.url_rule} was asked to fail")
    else:
        inject()


def _fail(message: str) -> NoReturn:
    raise InjectedFault(message)
