"""How far a replay is, for whoever looks: ``replaying.json`` in the folder of its run while it is under way.

    progress = Progress(run.folder, {"traces": 278, "logs": 69, "metrics": 37})
    progress.say(sent={"traces": 10})
    progress.say(waiting=12)             # everything is sent; what the Collector still holds
    read(run.folder)

Whether it is under way says the run itself (:attr:`loadtest.runs.Run.loader`); a killed replay leaves its last word.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.compare.replay.outcome import ITEMS
from services.compare.replay.recorded import SIGNALS, Signal

#: In the run's folder.
FILE: Final = "replaying.json"
#: Seconds between two words.
PAUSE: Final = 0.25
_NEVER: Final = float("-inf")


class Progress:
    """``planned``: items to send, by signal."""

    def __init__(self, folder: Path, planned: Mapping[Signal, int]) -> None:
        self._path = folder / FILE
        self._planned = {str(signal): count for signal, count in planned.items()}
        self._sent: dict[str, int] = {}
        self._said = _NEVER
        self.say({})
        # The first items are said however soon they are sent: at a low rate the next ones may take a minute.
        self._said = _NEVER

    def say(self, sent: Mapping[Signal, int] | None = None, waiting: int | None = None) -> None:
        """``sent``: items that were answered so far, by signal; ``waiting``: all are sent, and the Collector still holds so many."""
        if sent is not None:
            self._sent = {str(signal): count for signal, count in sent.items()}
        done = self._sent == self._planned or waiting is not None
        if time.monotonic() - self._said < PAUSE and not done:
            return
        self._said = time.monotonic()
        draft = self._path.with_name(f".{FILE}")
        with suppress(OSError):  # A full disk is said by the replay itself.
            draft.write_text(json.dumps({"planned": self._planned, "sent": self._sent, "waiting": waiting}))
            draft.replace(self._path)

    def done(self) -> None:
        """It is over; from now on its outcome says everything."""
        with suppress(OSError):
            self._path.unlink()


@dataclass(frozen=True)
class Sent:
    """Items of one signal."""

    items: str
    sent: int
    planned: int


@dataclass(frozen=True)
class HowFar:
    """``waiting``: items that the Collector still holds once everything is sent; None before."""

    signals: tuple[Sent, ...]
    waiting: int | None

    @property
    def sent(self) -> int:
        return sum(each.sent for each in self.signals)

    @property
    def planned(self) -> int:
        return sum(each.planned for each in self.signals)


def read(folder: Path) -> HowFar | None:
    """How far the replay that makes the run in ``folder`` is; None where nothing says it."""
    try:
        found: Any = json.loads((folder / FILE).read_bytes())
        sent, planned, waiting = found["sent"], found["planned"], found["waiting"]
        signals = tuple(Sent(ITEMS[signal], int(sent.get(signal, 0)), int(planned.get(signal, 0))) for signal in SIGNALS)
        return HowFar(signals, None if waiting is None else int(waiting))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
