"""Which minutes of a service are one anomaly, and which services' anomalies are one incident. Pure.

Which minute is anomalous :mod:`localstack.aws.xray.graphs.forecasts` says. The rest is ours too, and docs/local-xray-insights.md tells it
to users:

- Anomalous minutes with fewer than :data:`~localstack.aws.xray.graphs.forecasts.CALM_MINUTES` minutes between them are one anomaly; it
  begins with the first and ends with the last of them.
- Anomalies at the same time of services that call one another are one incident. Its root cause is the service farthest down: one that
  calls no other service of the incident; of several the one with the most faults.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from localstack.aws.xray.graphs.forecasts import CALM_MINUTES, MINUTE, Minute, judge
from localstack.aws.xray.traces.facts import Service


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A span of time in which a service faulted more than expected; ``end`` is the end of its last anomalous minute.

    ``expected``: the fault rate that its history let expect, 0 to 1. ``faults``: those of its anomalous minutes.
    """

    service: Service
    start: int
    end: int
    expected: float
    faults: int


@dataclass(frozen=True, slots=True)
class Incident:
    """Anomalies that belong together, the root cause's first and the others by their faults."""

    anomalies: tuple[Anomaly, ...]

    @property
    def root(self) -> Anomaly:
        return self.anomalies[0]

    @property
    def start(self) -> int:
        return min(anomaly.start for anomaly in self.anomalies)

    @property
    def end(self) -> int:
        return max(anomaly.end for anomaly in self.anomalies)


def find(service: Service, minutes: Iterable[Minute]) -> list[Anomaly]:
    """The anomalies of one service, oldest first; ``minutes`` as for :func:`judge`."""
    found: list[Anomaly] = []
    for judged in judge(minutes):
        minute = judged.minute
        if not judged.anomalous:
            continue
        last = found[-1] if found else None
        if last is not None and minute.start < last.end + CALM_MINUTES * MINUTE:
            found[-1] = Anomaly(service, last.start, minute.start + MINUTE, last.expected, last.faults + minute.faults)
        else:
            found.append(Anomaly(service, minute.start, minute.start + MINUTE, judged.expected, minute.faults))
    return found


def incidents(anomalies: Sequence[Anomaly], calls: Collection[tuple[Service, Service]]) -> list[Incident]:
    """Anomalies put together, oldest first. ``calls``: (caller, called) of all services."""
    group = list(range(len(anomalies)))

    def leader(number: int) -> int:
        while group[number] != number:
            number = group[number]
        return number

    # Those that have begun and not ended: no others can be at the same time, however many there were before.
    running: list[int] = []
    for number in sorted(group, key=lambda number: anomalies[number].start):
        one = anomalies[number]
        running = [earlier for earlier in running if anomalies[earlier].end > one.start]
        for earlier in running:
            other = anomalies[earlier].service
            if (one.service, other) in calls or (other, one.service) in calls:
                group[leader(number)] = leader(earlier)
        running.append(number)
    parts: dict[int, list[Anomaly]] = {}
    for number, anomaly in enumerate(anomalies):
        parts.setdefault(leader(number), []).append(anomaly)
    found = [Incident(_root_first(part, calls)) for part in parts.values()]
    return sorted(found, key=lambda incident: (incident.start, _order(incident.root)))


def _root_first(anomalies: Sequence[Anomaly], calls: Collection[tuple[Service, Service]]) -> tuple[Anomaly, ...]:
    services = {anomaly.service for anomaly in anomalies}
    ranked = sorted(anomalies, key=_order)
    # Services that call each other in a circle have none that is farthest down.
    deepest = [one for one in ranked if not any((one.service, other) in calls for other in services - {one.service})] or ranked
    return (deepest[0], *(one for one in ranked if one is not deepest[0]))


def _order(anomaly: Anomaly) -> tuple[int, int, str, str, str]:
    service = anomaly.service
    return (-anomaly.faults, anomaly.start, service.name, service.type or "", service.account_id or "")
