"""A quantile of some measurements, with the interval in which the true one lies.

The interval is the distribution-free one of order statistics (Conover, "Practical Nonparametric Statistics": confidence interval for a
quantile): the number of measurements below the true q-quantile is binomial, so two ranks enclose it with the wanted confidence whatever
the durations look like. Where too few were measured, a bound is missing, and nothing can be said in that direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

#: Probability that the true quantile lies within the interval.
CONFIDENCE: Final = 0.99


@dataclass(frozen=True)
class Quantile:
    """``low``, ``high``: bounds of the interval, None where too few were measured to have one. ``n``: measurements."""

    value: float
    low: float | None
    high: float | None
    n: int

    def above(self, other: Quantile) -> bool | None:
        """Whether this is higher than ``other`` by more than chance; None where too few were measured to tell."""
        if self.low is None or other.high is None:
            return None
        return self.low > other.high


@lru_cache(maxsize=4096)
def ranks(n: int, q: float) -> tuple[int | None, int | None]:
    """Ranks (from 1) of the measurements that enclose the true q-quantile of ``n``, None where there is no such rank."""
    tail = (1 - CONFIDENCE) / 2
    if n * q * (1 - q) > 50:
        # The binomial's normal approximation with continuity correction is within a rank of it here.
        spread = NormalDist().inv_cdf(1 - tail) * math.sqrt(n * q * (1 - q))
        low, high = math.floor(n * q - spread), math.ceil(n * q + spread) + 1
    else:
        low, high = _exact(n, q, tail)
    return (low if low >= 1 else None), (high if high <= n else None)


def _exact(n: int, q: float, tail: float) -> tuple[int, int]:
    """The largest rank with P(B < rank) <= tail, and the smallest with P(B >= rank) <= tail, for B binomial (n, q)."""
    cumulative = 0.0
    low, high = 0, n + 1
    for k in range(n + 1):
        # P(B <= k - 1) is what was summed so far.
        if cumulative <= tail:
            low = k
        if high > n and 1 - cumulative <= tail:
            high = k
        log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        cumulative += math.exp(log + k * math.log(q) + (n - k) * math.log1p(-q))
    return low, high
