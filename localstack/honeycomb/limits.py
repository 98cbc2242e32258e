"""Rate limits of the API, counted in fixed windows of a minute and told in Honeycomb's headers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

WINDOW = 60


@dataclass(frozen=True)
class Allowance:
    """What is left after a request: of ``limit`` requests, ``remaining``, until ``reset`` seconds from now."""

    limit: int
    remaining: int
    reset: int
    exceeded: bool

    def headers(self) -> dict[str, str]:
        return {
            "Ratelimit": f"limit={self.limit}, remaining={self.remaining}, reset={self.reset}",
            "RateLimitPolicy": f"{self.limit};w={WINDOW}",
        }


class RateLimit:
    """Counts requests. Whether one that exceeds the limit is refused is the caller's choice."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._started = clock()
        self._taken = 0

    def take(self) -> Allowance:
        """Count one request."""
        with self._lock:
            now = self._clock()
            if now - self._started >= WINDOW:
                self._started, self._taken = now, 0
            self._taken += 1
            reset = max(1, round(self._started + WINDOW - now))
            return Allowance(self.limit, max(self.limit - self._taken, 0), reset, self._taken > self.limit)
