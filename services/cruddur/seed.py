"""Seed data of cruddur: the same users, activities and messages in every database, on every machine.

Imports neither Flask nor SQLAlchemy, so that the load generator can ask :func:`handles` and :func:`activity_uuids` cheaply.
Everything is derived from a position by arithmetic and UUIDv5, not from :mod:`random`, whose sequences are only stable for
``random()`` itself. Times are ages in seconds, counted back from the moment the database is seeded, so that the home feed of a
new database is never empty or expired.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

#: Namespace of every UUID below; a change makes all seeded ids change.
_NAMESPACE = uuid.UUID("6f1f9a52-6d3e-5c0a-9d5b-2f1c4b7a8e01")

_FIRST = (
    "Ada", "Alan", "Amal", "Barbara", "Bashir", "Chen", "Dorothy", "Edsger", "Fatima", "Grace",
    "Hedy", "Ines", "Joan", "Katherine", "Linus", "Margaret", "Niklaus", "Olga", "Radia", "Tim",
)  # fmt: skip
_LAST = ("Abbott", "Borg", "Castro", "Dimitrov", "Endo", "Fischer", "Garcia", "Haddad", "Ito", "Jansen")
_TOPICS = (
    "the new release", "a flaky test", "cold brew", "the view from the office", "tail latencies", "a rubber duck",
    "yesterday's outage", "the on-call rota", "a very long pull request", "sampling", "weekend hiking", "an old laptop",
)  # fmt: skip
_OPENINGS = (
    "Thinking about",
    "Still puzzled by",
    "In praise of",
    "Does anyone else enjoy",
    "Finally finished with",
    "Notes on",
    "A question about",
)

USERS = len(_FIRST) * len(_LAST)
ACTIVITIES = 300
REPLIES = 90
MESSAGES = 240

_DAY = 86_400


@dataclass(frozen=True)
class SeedUser:
    uuid: str
    handle: str
    display_name: str


@dataclass(frozen=True)
class SeedActivity:
    uuid: str
    handle: str
    message: str
    #: Seconds before the seeding.
    age: int
    #: The activity this one answers, or None.
    reply_to: str | None = None


@dataclass(frozen=True)
class SeedMessage:
    uuid: str
    sender: str
    receiver: str
    message: str
    #: Seconds before the seeding.
    age: int


def _uuid(kind: str, position: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{kind}/{position}"))


def _sentence(position: int) -> str:
    opening = _OPENINGS[position % len(_OPENINGS)]
    topic = _TOPICS[(position * 5 + position // len(_TOPICS)) % len(_TOPICS)]
    return f"{opening} {topic}."


def _handle(position: int) -> str:
    return f"{_FIRST[position % len(_FIRST)]}.{_LAST[position // len(_FIRST)]}".lower()


def users() -> Iterator[SeedUser]:
    """Every seeded user, in a fixed order."""
    for position in range(USERS):
        first, last = _FIRST[position % len(_FIRST)], _LAST[position // len(_FIRST)]
        yield SeedUser(_uuid("user", position), _handle(position), f"{first} {last}")


def activities() -> Iterator[SeedActivity]:
    """Every seeded activity and then every reply, in a fixed order; a reply comes after what it answers."""
    for position in range(ACTIVITIES):
        yield SeedActivity(
            _uuid("activity", position), _handle(position * 7 % USERS), _sentence(position), age=60 + position * 1_500 % (6 * _DAY)
        )
    for position in range(REPLIES):
        yield SeedActivity(
            _uuid("reply", position),
            _handle((position * 11 + 3) % USERS),
            f"Replying: {_sentence(position + 1)}",
            age=30 + position * 10,
            reply_to=_uuid("activity", position * 3 % ACTIVITIES),
        )


def messages() -> Iterator[SeedMessage]:
    """Every seeded direct message, in a fixed order; sender and receiver always differ."""
    for position in range(MESSAGES):
        sender = position * 3 % USERS
        receiver = (sender + 1 + position % 5) % USERS
        yield SeedMessage(
            _uuid("message", position), _handle(sender), _handle(receiver), f"Hi! {_sentence(position + 2)}", age=120 + position * 700
        )


def handles() -> list[str]:
    """Handles of every seeded user, in a fixed order."""
    return [_handle(position) for position in range(USERS)]


def activity_uuids() -> list[str]:
    """UUIDs of every seeded activity that is not itself a reply, in a fixed order."""
    return [_uuid("activity", position) for position in range(ACTIVITIES)]
