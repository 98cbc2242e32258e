"""What is wrong with a filter expression, and where."""

from __future__ import annotations

from collections.abc import Sequence

from localstack.aws.errors import AwsError

#: How much of the line with the fault is shown on each side of it.
_AROUND = 60


class FilterError(AwsError):
    """An expression that cannot be used: X-Ray's InvalidRequestException, with the place marked.

    ``line`` and ``column`` count from 1; ``expected``: what could have stood there, in words; empty where that is no help.
    """

    def __init__(self, text: str, position: int, what: str, expected: Sequence[str] = ()) -> None:
        before = text[:position]
        self.line = before.count("\n") + 1
        self.column = position - (before.rfind("\n") + 1) + 1
        self.expected = tuple(expected)
        message = f"Invalid filter expression at line {self.line}, column {self.column}: {what}"
        if self.expected:
            message += f"; expected {_either(self.expected)}"
        super().__init__("InvalidRequestException", f"{message}\n{_marked(text, position)}")


def _either(alternatives: Sequence[str]) -> str:
    *others, last = alternatives
    return f"{', '.join(others)} or {last}" if others else last


def _marked(text: str, position: int) -> str:
    """The line of the fault, shortened around it, and a caret below."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    left = max(start, position - _AROUND)
    right = min(end, position + _AROUND)
    shown = ("…" if left > start else "") + text[left:right] + ("…" if right < end else "")
    # Tabs and other controls would move the caret away from what it points at.
    shown = "".join(character if character.isprintable() else " " for character in shown)
    return f"    {shown}\n    {' ' * (position - left + (left > start))}^"
