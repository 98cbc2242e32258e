"""When each process started and ended: ``<state dir>/events.jsonl``, one JSON object a line.

    time      epoch seconds; an end is written when supervisord has noticed it, which may take it a second
    process   name in compose.processes
    event     "started"; "stopping": it was asked to end and may take nothing more; "exited": it has ended; "killed": `make kill` or
              `make down` is about to send it SIGKILL
    pid       its process id, null where the supervisor does not say
    expected  false when nobody asked for it: the process died

compare reads this to tell a loss while a process was away from one nobody can explain. A start is written by
``compose.launch`` right before the program begins, an end by this module's listener, which supervisord runs and tells
("Events", Supervisor documentation). Nothing but the standard library, because supervisord waits for it.

Usage, by supervisord only: ``python -m compose.events <events.jsonl>``
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Literal, NamedTuple

Kind = Literal["started", "stopping", "exited", "killed"]

#: What the listener subscribes to. BACKOFF is a process that ended within its first second.
SUBSCRIBED = ("PROCESS_STATE_STOPPING", "PROCESS_STATE_EXITED", "PROCESS_STATE_STOPPED", "PROCESS_STATE_BACKOFF")

#: How far back to look for the start that belongs to an end without a pid, bytes.
_TAIL = 65_536


class Event(NamedTuple):
    """One line of the file."""

    time: float
    process: str
    event: Kind
    pid: int | None
    expected: bool


def record(path: Path, process: str, event: Kind, pid: int | None, expected: bool) -> None:
    """Append one event. One write on a file opened for appending, so that writers at the same time do not mix."""
    line = json.dumps({"time": round(time.time(), 6), "process": process, "event": event, "pid": pid, "expected": expected}) + "\n"
    with path.open("ab", buffering=0) as file:
        file.write(line.encode())


def read(path: Path, offset: int = 0) -> list[Event]:
    """The events behind ``offset`` bytes, oldest first; none where the file is not there. A line cut off is left out."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return list(_parse(file.read().splitlines()))
    except FileNotFoundError:
        return []


def size(path: Path) -> int:
    """Bytes so far: the offset from which :func:`read` finds only what happens from now on."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _parse(lines: Iterable[bytes]) -> Iterable[Event]:
    for line in lines:
        try:
            fields = json.loads(line)
            yield Event(fields["time"], fields["process"], fields["event"], fields["pid"], fields["expected"])
        except (ValueError, KeyError, TypeError):
            continue


def away(events: Iterable[Event], process: str) -> list[tuple[float, float | None]]:
    """The spans of time in which ``process`` was not there: (end, next start), epoch seconds; None while it still is away. A process that
    was asked to stop counts as away from then on: the Collector closes its receivers first, and then flushes for as long as it takes.

    The listener writes an end when supervisord has told it, which may be after the next start was written. Such an end is of a
    pid that is not the running one: the process is not away, and was away before that start, for a time nobody measured.
    """
    spans: list[tuple[float, float | None]] = []
    ended: float | None = None
    running: Event | None = None
    counted = True
    for event in events:
        if event.process != process:
            continue
        if event.event == "started":
            counted = ended is not None or running is None
            if ended is not None:
                spans.append((ended, event.time))
            ended, running = None, event
        elif running is not None and event.pid is not None and event.pid != running.pid:
            if not counted:
                spans.append((running.time, running.time))
            counted = True
        elif ended is None:
            ended = event.time
    if ended is not None:
        spans.append((ended, None))
    return spans


def _last_pid(path: Path, process: str) -> int | None:
    """The pid of this process's last start."""
    events = read(path, max(0, size(path) - _TAIL))
    starts = [event.pid for event in events if event.process == process and event.event == "started"]
    return starts[-1] if starts else None


def _words(text: str) -> dict[str, str]:
    """``key:value key:value`` as supervisord writes headers and payloads."""
    return dict(word.split(":", 1) for word in text.split())


def listen(path: Path, orders: IO[str], answers: IO[str]) -> None:
    """Speak supervisord's event listener protocol until it closes the pipe."""
    while True:
        answers.write("READY\n")
        answers.flush()
        header = orders.readline()
        if not header:
            return
        fields = _words(header)
        payload = _words(orders.read(int(fields["len"])).split("\n", 1)[0])
        name = payload["processname"]
        # A disk that is full must not stop the listener: supervisord would send the same event for ever.
        try:
            pid = int(payload["pid"]) if "pid" in payload else _last_pid(path, name)
            kind: Kind = "stopping" if fields["eventname"] == "PROCESS_STATE_STOPPING" else "exited"
            record(path, name, kind, pid, expected=kind == "stopping" or fields["eventname"] == "PROCESS_STATE_STOPPED")
        except OSError as error:
            print(f"events: {error}", file=sys.stderr, flush=True)
        answers.write("RESULT 2\nOK")
        answers.flush()


if __name__ == "__main__":
    # A Ctrl-C in the terminal is for the commands; supervisord ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listen(Path(sys.argv[1]), sys.stdin, sys.stdout)
