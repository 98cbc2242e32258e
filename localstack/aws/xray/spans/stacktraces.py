"""The text of a stack trace as X-Ray's exceptions: frames, and what caused what. Pure.

OpenTelemetry carries a stack trace as one text in the form of its language ("exception.stacktrace" of the semantic conventions);
a segment document has ``stack`` frames of path, line and label, innermost first, and ``cause`` for the exception before it. Lines
are taken apart by their separators, so that the time this takes grows with the text, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

#: X-Ray's SDKs send this many frames of a stack at most.
MAX_FRAMES = 50

_PYTHON_CHAIN = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_JAVA_CHAIN = "Caused by: "

Frame = dict[str, Any]


@dataclass(frozen=True)
class Raised:
    """One exception of a stack trace. ``type`` and ``message`` None: the first one's, which the span event tells itself."""

    stack: list[Frame] = field(default_factory=list)
    type: str | None = None
    message: str | None = None


def parse(language: str, text: str) -> list[Raised]:
    """The exceptions of a stack trace, the raised one first, each caused by the next; one without frames where nothing is known."""
    reader = _READERS.get(language)
    return reader(text.splitlines()) if reader is not None and text else [Raised()]


def _python(lines: Sequence[str]) -> list[Raised]:
    # Oldest first: what was raised last stands at the end, and each part ends with its type and message.
    parts: list[list[str]] = [[]]
    for line in lines:
        if line in _PYTHON_CHAIN:
            parts.append([])
        else:
            parts[-1].append(line)
    found: list[Raised] = []
    for part in reversed(parts):
        frames = [frame for line in part if (frame := _python_frame(line))]
        said = _python_exception(part) if found else (None, None)
        found.append(Raised(frames[::-1][:MAX_FRAMES], *said))
    return found


def _python_frame(line: str) -> Frame | None:
    """``  File "a.py", line 3, in f``"""
    if not line.startswith('  File "'):
        return None
    path, found, rest = line.removeprefix('  File "').partition('", line ')
    number, _, label = rest.partition(", in ")
    return _frame(path, number, label) if found else None


def _python_exception(lines: Sequence[str]) -> tuple[str, str]:
    """Type and message: what follows the last frame and its source lines, which are indented."""
    last = max((number for number, line in enumerate(lines) if line.startswith("  File ")), default=-1)
    below = [line for line in lines[last + 1 :] if line.strip() and not line.startswith("    ")]
    return _type_and_message("\n".join(below))


def _java(lines: Sequence[str]) -> list[Raised]:
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.startswith(_JAVA_CHAIN):
            parts.append([line.removeprefix(_JAVA_CHAIN)])
        else:
            parts[-1].append(line)
    found: list[Raised] = []
    for part in parts:
        frames = [frame for line in part if (frame := _java_frame(line))]
        head = next((number for number, line in enumerate(part) if line.lstrip().startswith(("at ", "... "))), len(part))
        said = _type_and_message("\n".join(part[:head])) if found else (None, None)
        found.append(Raised(frames[:MAX_FRAMES], *said))
    return found


def _java_frame(line: str) -> Frame | None:
    """``	at loader/com.example.Shop.buy(Shop.java:12)``; what stands before a slash is a class loader or a module."""
    line = line.strip()
    if not line.startswith("at ") or not line.endswith(")"):
        return None
    label, found, place = line.removeprefix("at ")[:-1].partition("(")
    path, _, number = place.partition(":")
    return _frame(path, number, label.rpartition("/")[2]) if found else None


def _v8_frame(line: str) -> Frame | None:
    """``    at buy (/srv/shop.js:12:5)`` or ``    at /srv/shop.js:12:5``"""
    if not line.startswith("    at "):
        return None
    rest = line.strip().removeprefix("at ")
    label, found, place = rest.rpartition(" (") if rest.endswith(")") else ("", "", rest)
    place = place.removesuffix(")") if found else place
    path, number = place, ""
    for _ in range(2):
        before, colon, digits = path.rpartition(":")
        if not colon or not digits.isdigit():
            break
        path, number = before, digits
    return _frame(path, number, label)


def _dotnet_frame(line: str) -> Frame | None:
    """``   at Shop.Buy() in /srv/Shop.cs:line 12``"""
    line = line.strip()
    if not line.startswith("at "):
        return None
    label, found, place = line.removeprefix("at ").partition(" in ")
    path, _, number = place.rpartition(":line ")
    return _frame(path if found else "", number, label)


def _go(lines: Sequence[str]) -> list[Raised]:
    """``main.buy(...)`` and below it ``	/srv/shop.go:12 +0x1d``"""

    def frames() -> Iterator[Frame]:
        for above, line in pairwise(lines):
            if line.startswith("\t") and not above.startswith("\t"):
                path, _, rest = line.strip().rpartition(":")
                label = above.rpartition("(")[0] if above.endswith(")") else above
                yield _frame(path, rest.partition(" ")[0], label)

    return [Raised(list(frames())[:MAX_FRAMES])]


def _flat(reader: Callable[[str], Frame | None]) -> Callable[[Sequence[str]], list[Raised]]:
    return lambda lines: [Raised([frame for line in lines if (frame := reader(line))][:MAX_FRAMES])]


def _frame(path: str, number: str, label: str) -> Frame:
    digits = number.strip()
    return {"path": path, "line": int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0, "label": label}


def _type_and_message(said: str) -> tuple[str, str]:
    name, _, message = said.partition(":")
    return name.strip(), message.strip()


_READERS: dict[str, Callable[[Sequence[str]], list[Raised]]] = {
    "python": _python,
    "java": _java,
    # PHP's SDK writes stack traces as Java does.
    "php": _java,
    "nodejs": _flat(_v8_frame),
    "webjs": _flat(_v8_frame),
    "javascript": _flat(_v8_frame),
    "dotnet": _flat(_dotnet_frame),
    "go": _go,
}
