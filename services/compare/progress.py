"""Says on standard error what compare is waiting for: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status

from services.compare.settle import Look

#: Seconds between two plain lines.
EVERY = 10.0


class ProgressLine:
    def __init__(self, console: Console, timeout: float) -> None:
        self._console = console
        self._timeout = timeout
        self._status: Status | None = Status("Reading every backend back …", console=console) if console.is_terminal else None
        self._spoke = time.monotonic()

    def looked(self, look: Look) -> None:
        waiting = [
            f"{path} lacks {progress.incomplete:,}"
            for path, progress in look.progress.items()
            if progress.incomplete and path not in look.unreadable
        ]
        waiting += [f"{path} cannot be read yet" for path in sorted(look.unreadable)]
        if any(total.agrees is not True for total in look.metrics):
            waiting.append("metrics are not complete")
        text = f"Waiting for the run to settle, {look.elapsed:.0f} s of at most {self._timeout:g} s: {'; '.join(waiting) or 'all is there'}"
        if self._status is not None:
            self._status.update(text)
        elif waiting and time.monotonic() - self._spoke >= EVERY:
            self._spoke = time.monotonic()
            self._console.print(text, soft_wrap=True, highlight=False)

    def __enter__(self) -> ProgressLine:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()
