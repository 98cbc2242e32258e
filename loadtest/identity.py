"""The headers that give a request its identity everywhere, and what the answer says about sampling.

Sources: W3C Trace Context (``traceparent``), its draft for responses (``traceresponse``, as OpenTelemetry's TraceResponsePropagator
writes it), W3C Baggage, and "Tracing header" in the AWS X-Ray Developer Guide (``X-Amzn-Trace-Id``).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Literal

_TRACERESPONSE = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")
_ROOT = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")


def new_trace_id(now: float) -> str:
    """32 hex digits, valid for W3C and X-Ray: 8 of epoch seconds, 24 of the operating system's randomness.

    Never from the seed: the same load twice must not make the same traces twice.
    """
    return f"{int(now):08x}{secrets.token_hex(12)}"


def headers(run: str, trace_id: str, sampling: Literal["all", "rules"]) -> dict[str, str]:
    """Headers for one request of ``run``.

    ``all``: both headers say "sampled". ``rules``: only X-Ray's header, with ``Sampled=?``, which asks the service to decide and to
    tell. No ``traceparent`` then, for it can only say yes or no.
    """
    root = f"Root=1-{trace_id[:8]}-{trace_id[8:]}"
    baggage = {"baggage": f"run={run}"}
    if sampling == "rules":
        return baggage | {"X-Amzn-Trace-Id": f"{root};Sampled=?"}
    span_id = secrets.token_hex(8)
    return baggage | {"traceparent": f"00-{trace_id}-{span_id}-01", "X-Amzn-Trace-Id": f"{root};Parent={span_id};Sampled=1"}


def sampled_by_xray_sdk(trace_id: str, answer: Mapping[str, str]) -> bool | None:
    """The X-Ray SDK's decision from the response's ``X-Amzn-Trace-Id``; None when it says nothing about this trace."""
    fields = dict(part.strip().partition("=")[::2] for part in answer.get("X-Amzn-Trace-Id", "").split(";"))
    root = _ROOT.fullmatch(fields.get("Root", ""))
    if root is None or root[1] + root[2] != trace_id:
        return None
    return {"1": True, "0": False}.get(fields.get("Sampled", ""))


def sampled_by_otel(trace_id: str, answer: Mapping[str, str]) -> bool | None:
    """OpenTelemetry's decision from the response's ``traceresponse``; None when it says nothing about this trace."""
    found = _TRACERESPONSE.fullmatch(answer.get("traceresponse", "").strip())
    if found is None or found[1] != trace_id:
        return None
    return bool(int(found[2], 16) & 1)
