"""What a request may say: bodies and queries, validated by pydantic."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from services.cruddur.store import ACTIVITY_LIMIT, MESSAGE_LIMIT

Handle = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
# NUL is valid JSON and valid Unicode, and no text of PostgreSQL.
_TEXT = r"^[^\x00]+$"
ActivityText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=ACTIVITY_LIMIT, pattern=_TEXT)]
MessageText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MESSAGE_LIMIT, pattern=_TEXT)]
ActivityUuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]

TTL = Literal["30-days", "7-days", "3-days", "1-day", "12-hours", "3-hours", "1-hour"]

LIFETIMES: dict[TTL, timedelta] = {
    "30-days": timedelta(days=30),
    "7-days": timedelta(days=7),
    "3-days": timedelta(days=3),
    "1-day": timedelta(days=1),
    "12-hours": timedelta(hours=12),
    "3-hours": timedelta(hours=3),
    "1-hour": timedelta(hours=1),
}


class _Input(BaseModel):
    # Strict: a number is not a text, and a misspelt field is an error, not silence.
    model_config = ConfigDict(strict=True, extra="forbid")


class CreateActivity(_Input):
    user_handle: Handle
    message: ActivityText
    ttl: TTL | None = None


class Reply(_Input):
    user_handle: Handle
    message: MessageText


class CreateMessage(_Input):
    user_sender_handle: Handle
    user_receiver_handle: Handle
    message: MessageText


class _Query(BaseModel):
    # A query may carry parameters that are not ours (a cache buster, a campaign).
    model_config = ConfigDict(extra="ignore")


class UserQuery(_Query):
    user_handle: Handle


class OptionalUserQuery(_Query):
    user_handle: Handle | None = None


class SearchQuery(_Query):
    term: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_TEXT)]


class HandlePath(_Query):
    handle: Handle


class ActivityPath(_Query):
    activity_uuid: ActivityUuid
