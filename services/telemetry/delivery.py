"""Delivering what is queued: how long to go on trying, and the count of what was given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from compose.settings import Settings

#: Items a queue holds. Beyond it something must go; it is counted.
QUEUE_SIZE = 65_536

#: Seconds one batch is tried for while its receiver is away.
PATIENCE = 600.0


def local_host(settings: Settings) -> str:
    """The address under which this machine's own processes are reached."""
    return "127.0.0.1" if settings.bind_host in ("0.0.0.0", "::") else settings.bind_host  # noqa: S104


@dataclass
class Tally:
    """What became of the items of one kind in this process. ``accepted`` = ``delivered`` + ``given_up`` + waiting or evicted."""

    accepted: int = 0
    delivered: int = 0
    given_up: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def accept(self, items: int = 1) -> None:
        with self._lock:
            self.accepted += items

    def deliver(self, items: int) -> None:
        with self._lock:
            self.delivered += items

    def give_up(self, items: int) -> None:
        with self._lock:
            self.given_up += items

    @property
    def waiting(self) -> int:
        """Items neither delivered nor given up: queued, in flight, or evicted from a full queue."""
        return self.accepted - self.delivered - self.given_up


class Deadline:
    """When a sender must stop trying. Far away until :meth:`begin`, which moves it to the end of the shutdown's grace."""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._at = float("inf")

    def begin(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds
        self._ending.set()

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._at

    def sleep(self, seconds: float) -> None:
        """Sleep, but wake when the shutdown begins, and never beyond its end."""
        if self._ending.is_set():
            time.sleep(max(0.0, min(seconds, self._at - time.monotonic())))
        else:
            self._ending.wait(seconds)


def persist(attempt: Callable[[], bool], deadline: Deadline, patience: float = PATIENCE) -> bool:
    """Call ``attempt`` until it succeeds. False when ``patience`` seconds or the deadline have passed.

    ``attempt`` may itself take long. One that fails at once is repeated after a pause that doubles, up to four seconds.
    """
    until, pause = time.monotonic() + patience, 0.25
    while not deadline.passed:
        if attempt():
            return True
        if time.monotonic() + pause > until:
            return False
        deadline.sleep(pause)
        pause = min(pause * 2, 4.0)
    return False
