"""What profiles knows: the same profiles everywhere, derived from the seeded users. No database of its own."""

from __future__ import annotations

from functools import cache
from typing import Any

from services.cruddur import seed

_PLACES = ("Lisbon", "Nairobi", "Osaka", "Toronto", "Quito", "Tallinn", "Perth", "Leipzig")
_INTERESTS = ("distributed systems", "bread", "birds", "trains", "type design", "old maps", "bouldering")


@cache
def _profiles() -> dict[str, dict[str, Any]]:
    return {
        user.handle: {
            "handle": user.handle,
            "display_name": user.display_name,
            "location": _PLACES[position % len(_PLACES)],
            "bio": f"Interested in {_INTERESTS[position % len(_INTERESTS)]} and {_INTERESTS[(position // 7 + 3) % len(_INTERESTS)]}.",
            "following": position * 37 % 101,
        }
        for position, user in enumerate(seed.users())
    }


def profile(handle: str) -> dict[str, Any] | None:
    """The profile of a seeded user, or None."""
    return _profiles().get(handle)
