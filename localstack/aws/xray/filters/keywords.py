"""The vocabulary of filter expressions: which keyword exists, of which type, and where it has a meaning.

Source: "Using filter expressions" in the X-Ray developer guide.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["boolean", "number", "string"]

#: What an expression speaks of: the trace, or inside braces one node, one call, one element of a root cause's path.
Scope = Literal["trace", "service", "edge", "cause service", "cause entity", "cause exception"]

#: The simple keywords.
KINDS: dict[str, Kind] = {
    "ok": "boolean",
    "error": "boolean",
    "fault": "boolean",
    "throttle": "boolean",
    "partial": "boolean",
    "inferred": "boolean",
    "root": "boolean",
    "first": "boolean",
    "last": "boolean",
    "remote": "boolean",
    "responsetime": "number",
    "duration": "number",
    "http.status": "number",
    "index": "number",
    "coverage": "number",
    "http.url": "string",
    "http.method": "string",
    "http.useragent": "string",
    "http.clientip": "string",
    "user": "string",
    "name": "string",
    "type": "string",
    "message": "string",
    "availabilityzone": "string",
    "instance.id": "string",
    "resource.arn": "string",
}

#: What an element of an enumerated list says of its place in it.
_PLACE = frozenset({"first", "last", "index"})
_REQUEST = frozenset(KINDS) - _PLACE - {"remote", "coverage"}

#: The simple keywords that have a meaning in each scope.
IN_SCOPE: dict[Scope, frozenset[str]] = {
    "trace": _REQUEST,
    "service": _REQUEST,
    "edge": _REQUEST,
    "cause service": _PLACE | {"name", "type", "inferred"},
    "cause entity": _PLACE | {"name", "remote", "coverage"},
    "cause exception": _PLACE | {"name", "message"},
}

#: Where each scope is, in words, for messages.
SCOPE_NAMES: dict[Scope, str] = {
    "trace": "outside of braces",
    "service": "inside service() {}",
    "edge": "inside edge() {}",
    "cause service": "inside rootcause.*.service {}",
    "cause entity": "inside rootcause.*.entity {}",
    "cause exception": "inside rootcause.*.exception {}",
}
