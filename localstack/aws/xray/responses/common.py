"""What the response modules share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token

#: Entries of a list a page, for the operations that list what is kept whole (rules, groups).
PAGE_ENTRIES = 100

Members = Mapping[str, Any]
Handler = Callable[[Members], dict[str, Any]]


def read_tags(entries: list[Mapping[str, str]]) -> dict[str, str]:
    """The member Tags as a dictionary."""
    return {entry["Key"]: entry["Value"] for entry in entries}


def page(entries: list[dict[str, Any]], token: str | None, query: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A page of a list that is kept whole, and the NextToken where there is more."""
    start = 0
    if token is not None:
        position = read_token(token, query, (int,))
        if position is None:
            raise AwsError("InvalidRequestException", "NextToken is not one that this operation returned")
        start = position[0]
    end = start + PAGE_ENTRIES
    return entries[start:end], ({"NextToken": make_token([end], query)} if end < len(entries) else {})
