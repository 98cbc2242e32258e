"""The requests that were as expected in the earlier run and are not in the later one, request by request.

Two runs of one seed and profile send the same requests in the same order, so a request is the same in both by its sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.compare.model import AS_EXPECTED, DIFFERS
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
    rows = after.rows(
        "SELECT sequence, trace_id, route, path, verdict, why FROM outcomes JOIN requests USING (sequence) "
        "WHERE verdict IN (SELECT unnest(?)) ORDER BY path, sequence",
        [sorted(DIFFERS)],
    )
    # Of a path that was off, or a request that was never sent, there is no outcome, and nothing was as expected.
    good_before = {
        (row["path"], row["sequence"])
        for row in before.rows(
            "SELECT path, sequence FROM outcomes WHERE verdict IN (SELECT unnest(?)) AND sequence IN (SELECT unnest(?))",
            [sorted(AS_EXPECTED), sorted({row["sequence"] for row in rows})],
        )
    }
    return [Loss(**row) for row in rows if (row["path"], row["sequence"]) in good_before][:LISTED]
