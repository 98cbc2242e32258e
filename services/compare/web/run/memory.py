"""What a record says it always says: an answer is worked out once for each record, and forgotten with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from services.compare.record import Record

Answer = TypeVar("Answer")

#: Answers kept of one record. Filters come in any number; the oldest answer goes first.
KEPT = 200


def once(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """A function of a record, and of whatever else can be hashed, that works out each answer once.

    Two threads that ask at the same moment may both work it out; both get the same.
    """
    answers: WeakKeyDictionary[Record, dict[tuple[object, ...], Answer]] = WeakKeyDictionary()

    @wraps(function)
    def asked(record: Record, *arguments: object) -> Answer:
        known = answers.setdefault(record, {})
        if arguments not in known:
            answer = function(record, *arguments)
            if len(known) >= KEPT:
                known.pop(next(iter(known)), None)
            known[arguments] = answer
        return known[arguments]

    return asked
