"""What the response modules share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token

#: Entries of a list a page, for the operations that list what is kept whole (rules, groups).
PAGE_ENTRIES = 100

Members = Mapping[str, Any]
Handler = Callable[[Members], dict[str, Any]]


#: "Valid values for key and value: a-z, A-Z, 0-9, space, and the following characters: _ . : / = + - and @"; the words before
#: them speak of Unicode characters, and so do AWS's own tag patterns.
_TAG_TEXT = re.compile(r"[\w\s.:/=+\-@]*")


def read_tags(entries: list[Mapping[str, str]]) -> dict[str, str]:
    """The member Tags as a dictionary. Raises AwsError for what no tag may be (API reference of TagResource)."""
    found: dict[str, str] = {}
    for entry in entries:
        key = check_tag_key(entry["Key"])
        if not _TAG_TEXT.fullmatch(entry["Value"]):
            raise AwsError("InvalidRequestException", f"The value of the tag '{key}' may hold letters, digits, spaces and _ . : / = + - @")
        if key in found:
            raise AwsError("InvalidRequestException", f"Tags names the key '{key}' twice")
        found[key] = entry["Value"]
    return found


def check_tag_key(key: str) -> str:
    if key.lower().startswith("aws:"):
        raise AwsError("InvalidRequestException", f"The tag key '{key}' begins with aws:, which is reserved for AWS")
    if not _TAG_TEXT.fullmatch(key):
        raise AwsError("InvalidRequestException", f"The tag key '{key}' may hold letters, digits, spaces and _ . : / = + - @")
    return key


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
