"""The shapes of load: how many requests, by how many users, how fast.

A shape says nothing about *what* is sent; that is :mod:`loadtest.plan`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compose.settings import Settings


@dataclass(frozen=True)
class Profile:
    """One shape of load.

    ``rate`` is the aim in requests a second, all users together; None is as fast as the application answers. ``burst`` requests are
    sent without a pause, then everyone waits ``pause`` seconds; None means no bursts.
    """

    name: str
    requests: int
    users: int
    rate: float | None
    burst: int | None = None
    pause: float = 0.0

    def interval(self) -> tuple[float, float]:
        """Bounds, in seconds, of the time from one request of a user to its next; a slow answer takes from it, so the rate holds."""
        if self.rate is None:
            return (0.0, 0.0)
        mean = self.users / self.rate
        return (0.5 * mean, 1.5 * mean)


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("smoke", requests=300, users=10, rate=60.0),
        Profile("demo", requests=2_000, users=16, rate=60.0),
        Profile("soak", requests=45_000, users=16, rate=60.0),
        Profile("spike", requests=5_000, users=50, rate=None, burst=500, pause=3.0),
    )
}


def chosen(settings: Settings) -> Profile:
    """The profile of ``settings``, with REQUESTS, USERS and LOCUST_WORKERS applied; a worker never stands without a user."""
    profile = PROFILES[settings.profile]
    users = max(settings.users or profile.users, settings.locust_workers)
    return replace(profile, requests=settings.requests or profile.requests, users=users)
