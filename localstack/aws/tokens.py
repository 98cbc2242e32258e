"""Opaque paging tokens. A token carries where the next page begins, and is only good for the query that made it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import orjson


def make_token(position: list[Any], query: Any) -> str:
    """A token for ``position`` (JSON values) in the answer to ``query`` (anything with a stable repr)."""
    return base64.urlsafe_b64encode(orjson.dumps([_mark(query), *position])).decode()


def read_token(token: str, query: Any, types: tuple[type, ...]) -> list[Any] | None:
    """The position in a token; None when it is not one of ours, or one of another query."""
    try:
        mark, *position = orjson.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (binascii.Error, orjson.JSONDecodeError, TypeError, ValueError):
        return None
    if mark != _mark(query) or len(position) != len(types):
        return None
    if not all(isinstance(value, kind) for value, kind in zip(position, types, strict=True)):
        return None
    return list(position)


def _mark(query: Any) -> str:
    return hashlib.sha256(repr(query).encode()).hexdigest()[:12]
