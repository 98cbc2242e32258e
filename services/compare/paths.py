"""The six paths as compare sees them: who decides their sampling, who carries them, and what may be lost on the way by design.

Data only. The expected signals themselves are declared in :mod:`services.cruddur.signals`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from compose.settings import SignalPath
from services.cruddur.signals import Kind

#: Kinds that a sampling decision covers. Log lines and items are sent for every request.
SAMPLED_KINDS: Final[frozenset[Kind]] = frozenset({"span", "segment", "subsegment"})

#: Kinds of which an application may show more than is declared (SQL statements, client calls).
OPEN_KINDS: Final[frozenset[Kind]] = SAMPLED_KINDS


@dataclass(frozen=True)
class Carrier:
    """A process on the way of a path, and how long before or after a request its absence still matters.

    ``before``, ``after``: seconds around the request. ``before`` covers a process that came back but whose clients had not yet
    noticed; ``after`` covers what a client holds back before it sends.
    """

    process: str
    before: float
    after: float


@dataclass(frozen=True)
class Path:
    """What compare knows about one path.

    ``decider``: whose sampling decision covers its spans and segments; None where nothing on it is sampled.
    ``gives_up``: what its client gives up by design, as a sentence; a possible cause until a record of the process proves it.
    ``repeats``: why something may arrive twice, as a sentence.
    ``carriers``: whose absence may cost a request on this path.
    ``renames``: how the backend spells an attribute key, where it cannot keep it.
    """

    path: SignalPath
    label: str
    decider: Literal["xray_sdk", "otel"] | None
    gives_up: str
    repeats: str
    carriers: tuple[Carrier, ...]
    renames: Literal["none", "xray"] = "none"

    def kept_as(self, key: str) -> str:
        """The name under which the backend may keep ``key``.

        X-Ray annotation keys are letters, digits and underscores ("AWS X-Ray segment documents", Annotations). X-Ray has learned to
        keep dots, and awsxray v0.152 sends them; other versions replace them. Both are looked for.
        """
        return re.sub(r"[^A-Za-z0-9_]", "_", key) if self.renames == "xray" else key


_OTLP_REPEATS = "the Collector, like the exporter before it, sends again what was not acknowledged in time, which may have arrived"
_OTLP = "the application tries a batch for 10 minutes and then gives it up; what the Collector accepted must arrive"

PATHS: Final[dict[SignalPath, Path]] = {
    each.path: each
    for each in (
        Path(SignalPath.HONEYCOMB_OTLP, "Honeycomb, OTLP", "otel", _OTLP, _OTLP_REPEATS, (Carrier("collector", 5, 15),)),
        Path(
            SignalPath.XRAY_SDK,
            "X-Ray, SDK",
            "xray_sdk",
            "the X-Ray SDK sends segments as UDP datagrams that nobody answers: lost if the daemon was away",
            "the daemon's role sends again what X-Ray did not acknowledge in time",
            (Carrier("xray-daemon", 5, 2),),
        ),
        Path(SignalPath.XRAY_OTLP, "X-Ray, OTLP", "otel", _OTLP, _OTLP_REPEATS, (Carrier("collector", 5, 15),), renames="xray"),
        Path(
            SignalPath.CLOUDWATCH_WATCHTOWER,
            "CloudWatch, watchtower",
            None,
            "the application tries a batch for 10 minutes: lost if CloudWatch Logs was away for longer",
            "watchtower sends a batch again when the answer to it was lost",
            (Carrier("aws", 5, 60),),
        ),
        Path(SignalPath.CLOUDWATCH_OTLP, "CloudWatch, OTLP", None, _OTLP, _OTLP_REPEATS, (Carrier("collector", 5, 15),)),
        Path(
            SignalPath.ROLLBAR_SDK,
            "Rollbar, SDK",
            None,
            "pyrollbar does not retry: the item is lost if Rollbar was away when it was sent",
            "the application reported it twice: pyrollbar itself sends each item once",
            (Carrier("rollbar", 5, 3),),
        ),
    )
}

#: What the application itself holds in memory dies with it, on every path.
APPLICATION: Final = (Carrier("cruddur", 0, 15), Carrier("profiles", 0, 15))
