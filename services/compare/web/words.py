"""The words, marks and classes of verdicts, paths and states: one meaning each, everywhere, and a colour never alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from compose.settings import SignalPath
from services.compare.model import Verdict
from services.compare.paths import PATHS as _PATHS


@dataclass(frozen=True)
class Word:
    """``mark``: one character that goes with it; ``meaning``: one line."""

    name: str
    mark: str
    meaning: str

    @property
    def css(self) -> str:
        """The class that gives it its colour."""
        return f"verdict-{self.name}"


VERDICTS: Final[Mapping[str, Word]] = {
    str(verdict): Word(str(verdict), mark, meaning)
    for verdict, mark, meaning in (
        (Verdict.SEEN, "✓", "every expected signal is there, once"),
        (Verdict.NOT_EXPECTED, "·", "this request makes no such signal, or nobody saw its answer"),
        (Verdict.NOT_SAMPLED, "○", "what is absent was not sampled, by the decision the ledger records"),
        (Verdict.PARTIAL, "◐", "some expected signals are absent, or lack an attribute or its value"),
        (Verdict.MISSING, "✗", "no expected signal is there"),
        (Verdict.DUPLICATE, "‖", "all is there, and something came more often than it should"),
        (Verdict.PENDING, "…", "something is absent, and the path was still changing when the wait was over"),
        (Verdict.UNREADABLE, "⊘", "the backend cannot be read: nothing is said of any request"),
        (Verdict.UNKNOWN, "?", "something is absent and cannot be judged"),
    )
}

#: What a path is called, in the order in which paths are shown.
PATHS: Final[Mapping[str, str]] = {str(path): _PATHS[path].label for path in SignalPath}


def path_css(path: str) -> str:
    """The class that gives a path its colour."""
    return "path-" + path.replace("/", "-")
