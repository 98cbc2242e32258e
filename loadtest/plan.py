"""The plan: which requests a load sends, decided by the seed alone. Pure: no clock, no network, no state.

    plan = Plan(seed=1, count=2000, handles=handles(), activity_uuids=activity_uuids(), profiles_timeout=2.0)
    plan[17]                  # the request with sequence 17, always the same
    plan.share(1, 4)          # what worker 1 of 4 sends, in order

A request depends on the seed and its sequence and on nothing else, so that users, workers and the number of requests change
who sends it and when, never what it is: 300 requests are the first 300 of 2,000. Requests are dealt from decks of :data:`MIX`,
each shuffled by the seed, so every deck holds every route and outcome in exactly its weight.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from services.cruddur.signals import Outcome, Route

#: Request header by which cruddur's sandbox takes a fault.
FAULT_HEADER = "X-Parallax-Fault"


@dataclass(frozen=True)
class PlannedRequest:
    """One request that will be sent. ``body`` is sent as ``application/json``; ``status`` is the answer it should get."""

    sequence: int
    route: Route
    outcome: Outcome
    #: Path with query.
    target: str
    body: bytes | None
    #: Value of :data:`FAULT_HEADER`, or None.
    fault: str | None
    status: int

    @property
    def method(self) -> str:
        return self.route.method


@dataclass(frozen=True)
class _Draft:
    """What a maker says about a request; the deck adds the rest."""

    target: str
    body: bytes | None = None
    fault: str | None = None
    status: int = 200


_WORDS = (
    "coffee", "deploy", "friday", "trace", "rollback", "latency", "café", "naïve", "queue", "pager", "sunrise", "build",
    "green", "flaky", "shipping", "budget", "cache", "miss", "hit", "weekend", "☕", "review", "merge", "日本", "span", "log",
)  # fmt: skip
_TERMS = ("release", "flaky", "coffee", "latencies", "outage", "sampling", "hiking", "laptop", "on-call", "pull request", "zzz-nothing")
_TTLS = ("1-hour", "12-hours", "1-day", "7-days", "30-days")


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _path(template: str, value: str, query: Mapping[str, str] | None = None) -> str:
    return template.format(quote(value, safe="")) + (f"?{urlencode(query)}" if query else "")


@dataclass(frozen=True)
class _Draw:
    """Makes the drafts of one request; each method below is one kind of request. All choices come from ``rng``."""

    rng: random.Random
    handles: Sequence[str]
    activity_uuids: Sequence[str]
    #: Seconds after which cruddur gives up waiting for profiles.
    profiles_timeout: float

    def _sentence(self) -> str:
        return " ".join(self.rng.choice(_WORDS) for _ in range(self.rng.randint(3, 14)))

    def _nobody(self) -> str:
        """A handle no seeded user has."""
        return f"nobody.{self.rng.randrange(16**6):06x}"

    def _two(self) -> tuple[str, str]:
        first, second = self.rng.sample(self.handles, 2)
        return first, second

    def _answers_late(self) -> str:
        """A fault that makes profiles slow, but not too slow for cruddur."""
        longest = int(self.profiles_timeout * 400)
        return f"downstream-slow={self.rng.randint(longest // 4, longest)}"

    def home(self) -> _Draft:
        return _Draft("/api/activities/home")

    def home_slow(self) -> _Draft:
        return _Draft("/api/activities/home", fault=f"slow={self.rng.randint(150, 600)}")

    def home_exception(self) -> _Draft:
        return _Draft("/api/activities/home", fault="exception", status=500)

    def notifications(self) -> _Draft:
        return _Draft("/api/activities/notifications?" + urlencode({"user_handle": self.rng.choice(self.handles)}))

    def user(self) -> _Draft:
        return _Draft(_path("/api/activities/@{}", self.rng.choice(self.handles)))

    def user_not_found(self) -> _Draft:
        return _Draft(_path("/api/activities/@{}", self._nobody()), status=404)

    def user_exception(self) -> _Draft:
        return _Draft(_path("/api/activities/@{}", self.rng.choice(self.handles)), fault="exception", status=500)

    def user_downstream_error(self) -> _Draft:
        return _Draft(_path("/api/activities/@{}", self.rng.choice(self.handles)), fault="downstream-error", status=502)

    def user_downstream_slow(self) -> _Draft:
        return _Draft(_path("/api/activities/@{}", self.rng.choice(self.handles)), fault=self._answers_late())

    def user_downstream_timeout(self) -> _Draft:
        late = int(self.profiles_timeout * 1000) + 500
        return _Draft(_path("/api/activities/@{}", self.rng.choice(self.handles)), fault=f"downstream-slow={late}", status=504)

    def search(self) -> _Draft:
        return _Draft("/api/activities/search?" + urlencode({"term": self.rng.choice(_TERMS)}))

    def search_slow(self) -> _Draft:
        return _Draft("/api/activities/search?" + urlencode({"term": self.rng.choice(_TERMS)}), fault=f"slow={self.rng.randint(150, 600)}")

    def search_bad(self) -> _Draft:
        return _Draft(
            self.rng.choice(("/api/activities/search", "/api/activities/search?term=", "/api/activities/search?word=outage")), status=400
        )

    def create_activity(self) -> _Draft:
        body = {"user_handle": self.rng.choice(self.handles), "message": self._sentence(), "ttl": self.rng.choice(_TTLS)}
        return _Draft("/api/activities", _json(body), status=201)

    def create_activity_bad(self) -> _Draft:
        bad = self.rng.choice(("too long", "no message", "not JSON"))
        handle = self.rng.choice(self.handles)
        if bad == "not JSON":
            return _Draft("/api/activities", b'{"user_handle": "' + handle.encode(), status=400)
        body = {"user_handle": handle, "message": "x" * 281} if bad == "too long" else {"user_handle": handle}
        return _Draft("/api/activities", _json(body), status=422)

    def reply(self) -> _Draft:
        body = {"user_handle": self.rng.choice(self.handles), "message": self._sentence()}
        return _Draft(_path("/api/activities/{}/reply", self.rng.choice(self.activity_uuids)), _json(body), status=201)

    def reply_bad(self) -> _Draft:
        body = {"user_handle": self.rng.choice(self.handles), "message": "   "}
        return _Draft(_path("/api/activities/{}/reply", self.rng.choice(self.activity_uuids)), _json(body), status=422)

    def reply_not_found(self) -> _Draft:
        nothing = uuid.UUID(int=self.rng.getrandbits(128), version=4)
        return _Draft(
            _path("/api/activities/{}/reply", str(nothing)),
            _json({"user_handle": self.rng.choice(self.handles), "message": self._sentence()}),
            status=404,
        )

    def message_groups(self) -> _Draft:
        return _Draft("/api/message_groups?" + urlencode({"user_handle": self.rng.choice(self.handles)}))

    def message_groups_bad(self) -> _Draft:
        return _Draft("/api/message_groups", status=400)

    def messages(self) -> _Draft:
        other, own = self._two()
        return _Draft(_path("/api/messages/@{}", other, {"user_handle": own}))

    def messages_not_found(self) -> _Draft:
        return _Draft(_path("/api/messages/@{}", self._nobody(), {"user_handle": self.rng.choice(self.handles)}), status=404)

    def messages_downstream_error(self) -> _Draft:
        other, own = self._two()
        return _Draft(_path("/api/messages/@{}", other, {"user_handle": own}), fault="downstream-error", status=502)

    def messages_downstream_slow(self) -> _Draft:
        other, own = self._two()
        return _Draft(_path("/api/messages/@{}", other, {"user_handle": own}), fault=self._answers_late())

    def create_message(self) -> _Draft:
        sender, receiver = self._two()
        body = {"user_sender_handle": sender, "user_receiver_handle": receiver, "message": self._sentence()}
        return _Draft("/api/messages", _json(body), status=201)

    def create_message_slow(self) -> _Draft:
        draft = self.create_message()
        return _Draft(draft.target, draft.body, fault=f"slow={self.rng.randint(150, 600)}", status=201)

    def create_message_exception(self) -> _Draft:
        draft = self.create_message()
        return _Draft(draft.target, draft.body, fault="exception", status=500)

    def create_message_bad(self) -> _Draft:
        sender, receiver = self._two()
        body = {"user_sender_handle": sender, "user_receiver_handle": receiver, "message": "y" * 1025}
        return _Draft("/api/messages", _json(body), status=422)

    def create_message_not_found(self) -> _Draft:
        body = {"user_sender_handle": self.rng.choice(self.handles), "user_receiver_handle": self._nobody(), "message": self._sentence()}
        return _Draft("/api/messages", _json(body), status=404)

    def health_check(self) -> _Draft:
        return _Draft("/api/health-check")

    def rollbar_test(self) -> _Draft:
        return _Draft("/rollbar/test")

    def unmatched(self) -> _Draft:
        return _Draft(
            f"/{self.rng.choice(('api/nothing', 'wp-login.php', 'api/v9/activities', 'favicon'))}/{self.rng.randrange(1000)}", status=404
        )


@dataclass(frozen=True)
class Kind:
    """One kind of request. ``weight`` is how many of each deck's requests are of it."""

    route: Route
    outcome: Outcome
    weight: int
    make: Callable[[_Draw], _Draft]


#: The mix. Weights sum to the size of a deck.
MIX: tuple[Kind, ...] = (
    Kind(Route.HOME, Outcome.OK, 19, _Draw.home),
    Kind(Route.HOME, Outcome.SLOW, 1, _Draw.home_slow),
    Kind(Route.HOME, Outcome.EXCEPTION, 1, _Draw.home_exception),
    Kind(Route.NOTIFICATIONS, Outcome.OK, 6, _Draw.notifications),
    Kind(Route.USER, Outcome.OK, 11, _Draw.user),
    Kind(Route.USER, Outcome.NOT_FOUND, 2, _Draw.user_not_found),
    Kind(Route.USER, Outcome.EXCEPTION, 1, _Draw.user_exception),
    Kind(Route.USER, Outcome.DOWNSTREAM_ERROR, 1, _Draw.user_downstream_error),
    Kind(Route.USER, Outcome.DOWNSTREAM_SLOW, 1, _Draw.user_downstream_slow),
    Kind(Route.USER, Outcome.DOWNSTREAM_SLOW, 1, _Draw.user_downstream_timeout),
    Kind(Route.SEARCH, Outcome.OK, 7, _Draw.search),
    Kind(Route.SEARCH, Outcome.SLOW, 1, _Draw.search_slow),
    Kind(Route.SEARCH, Outcome.BAD_INPUT, 2, _Draw.search_bad),
    Kind(Route.CREATE_ACTIVITY, Outcome.OK, 7, _Draw.create_activity),
    Kind(Route.CREATE_ACTIVITY, Outcome.BAD_INPUT, 3, _Draw.create_activity_bad),
    Kind(Route.REPLY, Outcome.OK, 4, _Draw.reply),
    Kind(Route.REPLY, Outcome.BAD_INPUT, 1, _Draw.reply_bad),
    Kind(Route.REPLY, Outcome.NOT_FOUND, 1, _Draw.reply_not_found),
    Kind(Route.MESSAGE_GROUPS, Outcome.OK, 6, _Draw.message_groups),
    Kind(Route.MESSAGE_GROUPS, Outcome.BAD_INPUT, 1, _Draw.message_groups_bad),
    Kind(Route.MESSAGES, Outcome.OK, 5, _Draw.messages),
    Kind(Route.MESSAGES, Outcome.NOT_FOUND, 1, _Draw.messages_not_found),
    Kind(Route.MESSAGES, Outcome.DOWNSTREAM_ERROR, 1, _Draw.messages_downstream_error),
    Kind(Route.MESSAGES, Outcome.DOWNSTREAM_SLOW, 1, _Draw.messages_downstream_slow),
    Kind(Route.CREATE_MESSAGE, Outcome.OK, 4, _Draw.create_message),
    Kind(Route.CREATE_MESSAGE, Outcome.SLOW, 1, _Draw.create_message_slow),
    Kind(Route.CREATE_MESSAGE, Outcome.EXCEPTION, 1, _Draw.create_message_exception),
    Kind(Route.CREATE_MESSAGE, Outcome.BAD_INPUT, 2, _Draw.create_message_bad),
    Kind(Route.CREATE_MESSAGE, Outcome.NOT_FOUND, 1, _Draw.create_message_not_found),
    Kind(Route.HEALTH_CHECK, Outcome.OK, 2, _Draw.health_check),
    Kind(Route.ROLLBAR_TEST, Outcome.OK, 2, _Draw.rollbar_test),
    Kind(Route.UNMATCHED, Outcome.NOT_FOUND, 2, _Draw.unmatched),
)

#: Requests of one deck.
DECK = sum(kind.weight for kind in MIX)


@lru_cache(maxsize=8)
def _deck(seed: int, number: int) -> tuple[Kind, ...]:
    cards = [kind for kind in MIX for _ in range(kind.weight)]
    random.Random(f"{seed}/deck/{number}").shuffle(cards)  # noqa: S311  repeatable on purpose
    return tuple(cards)


class Plan:
    """``count`` planned requests; ``plan[sequence]`` is one of them. Raises ValueError without handles or activities to use.

    ``profiles_timeout`` is cruddur's, in seconds. Without ``sandbox`` cruddur ignores faults, so none is asked for.
    """

    def __init__(
        self, seed: int, count: int, handles: Sequence[str], activity_uuids: Sequence[str], profiles_timeout: float, sandbox: bool = True
    ) -> None:
        if len(handles) < 2 or not activity_uuids:
            raise ValueError("a plan needs at least two handles and one activity")
        self.seed = seed
        self.count = count
        self._handles = handles
        self._activity_uuids = activity_uuids
        self._profiles_timeout = profiles_timeout
        self._sandbox = sandbox

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[PlannedRequest]:
        return self.share(0, 1)

    def __getitem__(self, sequence: int) -> PlannedRequest:
        if not 0 <= sequence < self.count:
            raise IndexError(f"this plan has requests 0 to {self.count - 1}, not {sequence}")
        deck, card = divmod(sequence, DECK)
        kind = _deck(self.seed, deck)[card]
        rng = random.Random(f"{self.seed}/request/{sequence}")  # noqa: S311  repeatable on purpose
        draft = kind.make(_Draw(rng, self._handles, self._activity_uuids, self._profiles_timeout))
        if draft.fault is not None and not self._sandbox:
            # cruddur would ignore the fault: the request is an ordinary one.
            status = 201 if draft.body is not None else 200
            return PlannedRequest(sequence, kind.route, Outcome.OK, draft.target, draft.body, None, status)
        return PlannedRequest(sequence, kind.route, kind.outcome, draft.target, draft.body, draft.fault, draft.status)

    def share(self, worker: int, workers: int) -> Iterator[PlannedRequest]:
        """What ``worker`` (from 0) of ``workers`` sends, in order: every ``workers``-th request."""
        for sequence in range(worker, self.count, workers):
            yield self[sequence]
