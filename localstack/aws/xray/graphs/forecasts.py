"""Which faults a service's history lets expect, minute by minute. Pure.

X-Ray "uses statistical modeling to predict the expected fault rates of services" (developer guide, "Using X-Ray insights") and does not
say which model; this one is ours, and docs/local-xray-insights.md tells it to users:

- A service is judged by the minute. What is expected of a minute follows from the last :data:`BASELINE_MINUTES` minutes that were
  normal: a beta-binomial distribution, so that a short history expects less exactly than a long one. With no history at all it
  expects what :data:`PRIOR_FAULTS` faults in :data:`PRIOR_REQUESTS` requests would.
- A minute is anomalous when it has at least :data:`MIN_REQUESTS` requests and :data:`MIN_FAULTS` faults, and so many faults or more had
  a probability below :data:`SIGNIFICANCE`.
- Neither an anomalous minute nor the :data:`CALM_MINUTES` minutes after it teach the model what is normal.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

#: Seconds.
MINUTE = 60
BASELINE_MINUTES = 60
PRIOR_FAULTS = 1
PRIOR_REQUESTS = 20
MIN_REQUESTS = 10
MIN_FAULTS = 5
#: One false alarm in a million minutes: one in two years of a service that is never idle.
SIGNIFICANCE = 1e-6
CALM_MINUTES = 5


@dataclass(frozen=True, slots=True)
class Minute:
    """Requests of one service that began in the minute from ``start`` (epoch seconds), and how many of them were faults."""

    start: int
    requests: int
    faults: int


def tail(faults: int, requests: int, known_faults: int, known_requests: int) -> float:
    """The probability of at least ``faults`` in ``requests``, where ``known_faults`` were in ``known_requests`` before."""
    a = PRIOR_FAULTS + known_faults
    b = PRIOR_REQUESTS - PRIOR_FAULTS + known_requests - known_faults
    if faults <= 0:
        return 1.0
    total = 0.0
    for count in range(faults, requests + 1):
        ways = math.lgamma(requests + 1) - math.lgamma(count + 1) - math.lgamma(requests - count + 1)
        term = math.exp(ways + _log_beta(count + a, requests - count + b) - _log_beta(a, b))
        total += term
        # Beyond its peak the distribution only falls.
        if term < total * 1e-12 and count * (a + b) > requests * a:
            break
    return min(total, 1.0)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def is_anomalous(minute: Minute, known_faults: int, known_requests: int) -> bool:
    """Whether a minute has more faults than its history lets expect."""
    if minute.requests < MIN_REQUESTS or minute.faults < MIN_FAULTS:
        return False
    # No more than expected needs no sum to be judged.
    if minute.faults * (PRIOR_REQUESTS + known_requests) <= minute.requests * (PRIOR_FAULTS + known_faults):
        return False
    return tail(minute.faults, minute.requests, known_faults, known_requests) < SIGNIFICANCE


@dataclass(frozen=True, slots=True)
class Judged:
    """A minute beside what its history lets expect: ``known_faults`` in ``known_requests`` of the normal minutes before it."""

    minute: Minute
    known_faults: int
    known_requests: int
    anomalous: bool

    @property
    def expected(self) -> float:
        """The fault rate to expect, 0 to 1."""
        return (PRIOR_FAULTS + self.known_faults) / (PRIOR_REQUESTS + self.known_requests)

    def limits(self) -> tuple[int, int]:
        """The fewest and the most faults in this many requests that are not out of the expected range."""
        requests = self.minute.requests
        fewest = _first(requests, lambda faults: tail(faults + 1, requests, self.known_faults, self.known_requests) <= 1 - SIGNIFICANCE)
        most = _first(
            requests, lambda faults: is_anomalous(Minute(self.minute.start, requests, faults + 1), self.known_faults, self.known_requests)
        )
        return fewest, most


def _first(limit: int, holds: Callable[[int], bool]) -> int:
    """The first number from 0 to below ``limit`` for which it holds, as for all that follow; else ``limit``."""
    return bisect.bisect_left(range(limit), True, key=holds)


def judge(minutes: Iterable[Minute], length: int = MINUTE) -> Iterator[Judged]:
    """The minutes of one service, oldest first, each with its history; in any order, those without requests left out or not.

    ``length``: of what is called a minute here, in seconds.
    """
    normal: deque[Minute] = deque()
    known_faults = known_requests = 0
    unsettled_until = -math.inf
    for minute in sorted(minutes, key=lambda minute: minute.start):
        anomalous = is_anomalous(minute, known_faults, known_requests)
        yield Judged(minute, known_faults, known_requests, anomalous)
        if anomalous:
            unsettled_until = minute.start + (1 + CALM_MINUTES) * length
        elif minute.start >= unsettled_until and minute.requests:
            normal.append(minute)
            known_faults += minute.faults
            known_requests += minute.requests
            if len(normal) > BASELINE_MINUTES:
                oldest = normal.popleft()
                known_faults -= oldest.faults
                known_requests -= oldest.requests
