"""How the reservoir of a sampling rule is divided among its clients, and when its rate is boosted. Pure, and ours: X-Ray does not say.

Source of what must come of it: "Using X-Ray service sampling with the REST API" and "Configuring adaptive sampling" in the X-Ray
developer guide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

#: Seconds after which a client shall report again.
INTERVAL_SECONDS = 10
#: Anomalous requests that shall be recorded an interval: one a second, as the Default rule's reservoir has it. Ours.
ANOMALIES_WANTED = INTERVAL_SECONDS


def shares(reservoir: int, demands: Mapping[str, int]) -> dict[str, int]:
    """Divide ``reservoir``, requests a second, among clients with these ``demands``, requests a second each. Pure.

    Max-min fair: nobody gets less than the smaller of its demand and an even share, and what some do not need goes to those who
    need more. What nobody needs is divided evenly, for bursts. Where it does not divide, the first clients by id get one more. The
    shares add up to the reservoir.
    """
    if not demands:
        return {}
    granted: dict[str, int] = {}
    left = reservoir
    waiting = deque(sorted(demands, key=lambda client: demands[client]))
    while waiting and demands[waiting[0]] <= left // len(waiting):
        granted[waiting[0]] = demands[waiting[0]]
        left -= demands[waiting.popleft()]
    clients = sorted(waiting or demands)
    each, rest = divmod(left, len(clients))
    for number, client in enumerate(clients):
        granted[client] = granted.get(client, 0) + each + (number < rest)
    return granted


def boost_rate(fixed_rate: float, max_rate: float, anomalies: int, sampled: int) -> float | None:
    """The rate that would record ANOMALIES_WANTED of an interval's anomalous requests; None where no boost is called for. Pure.

    ``anomalies``: anomalous requests all services reported for the rule in the last interval, ``sampled``: how many of them were
    recorded. "X-Ray calculates the minimum boost needed to capture error traces. If your baseline rate captures enough data, no
    boost occurs"; the result lies above ``fixed_rate`` and is at most ``max_rate``.
    """
    wanted = min(anomalies, ANOMALIES_WANTED)
    if sampled >= wanted:
        return None
    rate = min(wanted / anomalies, max_rate)
    return rate if rate > fixed_rate else None
