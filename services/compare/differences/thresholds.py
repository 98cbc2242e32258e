"""What is still accepted when two runs are compared.

    THRESHOLDS="slower=25%+5ms later=50%+500ms lost=0% cost=10%"

A duration is beyond its threshold when it is longer by more than the share and by more than the amount, and by more than chance
explains. ``lost`` is by how much the share of a path's requests that is not as expected, or of the client's that has no answer, may
grow; ``cost`` the growth of what a request is billed. A word that is left out keeps its default; ``off`` switches a check off.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final


class ThresholdsError(Exception):
    """A line that says no thresholds. The message is one line that names the word and shows a right one."""


@dataclass(frozen=True)
class Longer:
    """``share`` of the earlier value (0.25: 25 %) and ``seconds``, both of which must be exceeded."""

    share: float
    seconds: float

    def __str__(self) -> str:
        return f"{_percent(self.share)}+{self.seconds * 1000:g}ms"


@dataclass(frozen=True)
class Thresholds:
    """None: not checked. ``slower``: what the client and each backend measured; ``later``: time until visible; the others: shares."""

    slower: Longer | None = Longer(0.25, 0.005)
    later: Longer | None = Longer(0.5, 0.5)
    lost: float | None = 0.0
    cost: float | None = 0.1

    def __str__(self) -> str:
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            text = "off" if value is None else str(value) if isinstance(value, Longer) else _percent(value)
            words.append(f"{field.name}={text}")
        return " ".join(words)


def parse(line: str) -> Thresholds:
    """Thresholds from a line of words as :class:`Thresholds` prints them. Raises ThresholdsError."""
    found: dict[str, Any] = {}
    for word in line.replace(",", " ").split():
        name, equals, text = word.partition("=")
        if name not in _PARSERS or not equals:
            raise ThresholdsError(f"{word!r} is no threshold; say some of {Thresholds()}")
        if name in found:
            raise ThresholdsError(f"{name} is given twice")
        value = None if text == "off" else _PARSERS[name](text)
        if text != "off" and value is None:
            raise ThresholdsError(f"{word!r} is no threshold; say {name}={_EXAMPLES[name]}, or {name}=off")
        found[name] = value
    return Thresholds(**found)


_NUMBER = r"(\d+(?:\.\d+)?)"
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def _longer(text: str) -> Longer | None:
    match = re.fullmatch(rf"{_NUMBER}%(?:\+{_NUMBER}(us|ms|s))?", text)
    if match is None:
        return None
    return Longer(float(match[1]) / 100, float(match[2]) * _UNITS[match[3]] if match[2] else 0.0)


def _share(text: str) -> float | None:
    match = re.fullmatch(rf"{_NUMBER}%", text)
    return None if match is None else float(match[1]) / 100


_PARSERS: Final[dict[str, Callable[[str], Longer | float | None]]] = {"slower": _longer, "later": _longer, "lost": _share, "cost": _share}
_EXAMPLES: Final = {"slower": "25%+5ms", "later": "50%+500ms", "lost": "0%", "cost": "10%"}


def _percent(share: float) -> str:
    return f"{share * 100:g}%"
