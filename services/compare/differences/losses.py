"""The requests that were as expected in the earlier run and are not in the later one, request by request.

Two runs of one seed and profile send the same requests in the same order, so a request is the same in both by its sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.compare.model import AS_EXPECTED
from services.compare.record import Record

#: Losses that are listed; the checks count all.
LISTED: Final = 1000


@dataclass(frozen=True)
class Loss:
    """One request on one path. ``why``: what is absent, and the cause where one is known."""

    sequence: int
    trace_id: str
    route: str
    path: str
    verdict: str
    why: str


def losses(after: Record, before: Record) -> list[Loss]:
    """The first :data:`LISTED`, by path and sequence."""
    good = ", ".join(f"'{verdict}'" for verdict in sorted(AS_EXPECTED))
    found: list[Loss] = []
    rows = after.rows(
        f"SELECT sequence, trace_id, route, path, verdict, why FROM outcomes JOIN requests USING (sequence) "
        f"WHERE verdict NOT IN ({good}) AND verdict <> 'unreadable' ORDER BY path, sequence"
    )
    bad_before = {
        (row["path"], row["sequence"]) for row in before.rows(f"SELECT path, sequence FROM outcomes WHERE verdict NOT IN ({good})")
    }
    for row in rows:
        if (row["path"], row["sequence"]) not in bad_before:
            found.append(Loss(**row))
            if len(found) == LISTED:
                break
    return found
