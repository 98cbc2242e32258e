"""The table of ``make status``: each process with its pid, ports, uptime, memory and restarts."""

from __future__ import annotations

import contextlib
import json
import sys
import time

import psutil
from rich.console import Console
from rich.table import Table

from compose import events, leftovers, ports, supervision
from compose.sandbox import files_of
from compose.settings import Settings
from compose.supervision import Client, Files, State


def _family(pid: int) -> list[psutil.Process]:
    """A process and all below it: gunicorn's workers belong to it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(family: list[psutil.Process]) -> int:
    """Bytes of memory these processes hold: a page that several processes share counts once among them (PSS) where the system says so."""
    total = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            try:
                total += process.memory_full_info().pss
            except (AttributeError, psutil.AccessDenied):
                total += process.memory_info().rss
    return total


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _changed(files: Files, settings: Settings) -> list[str]:
    """The settings that differ from those the sandbox was brought up with."""
    try:
        then = json.loads(files.sandbox.read_text())
    except (OSError, ValueError):
        return []
    from compose.processes import OF_COMMANDS, setting_names

    ignored = setting_names(OF_COMMANDS)
    return sorted(name.upper() for name, value in settings.public().items() if name not in ignored and then.get(name) != value)


def show(settings: Settings) -> int:
    """Print the table; 0 when everything runs, 1 otherwise."""
    files = files_of(settings)
    client = Client(files.socket)
    if not client.alive():
        left = leftovers.find(files.state_dir)
        if left:
            print(f"The supervisor of {settings.state_dir} was killed; {len(left)} processes run without it. Next: make up, or make down")
        else:
            print(f"The sandbox in {settings.state_dir} is not up. Next: make up")
        return 1
    states = client.states()
    # Starts since this supervisord was started, the first one not counted.
    began = psutil.Process(client.pid()).create_time()
    starts: dict[str, int] = {}
    for event in events.read(files.events):
        if event.event == "started" and event.time >= began:
            starts[event.process] = starts.get(event.process, 0) + 1
    listening: dict[int, set[str]] = {}
    for process, number, protocol in ports.listeners():
        # A UDP socket that only sends looks like one that listens; the daemon's UDP port has the number of its TCP port.
        if protocol == "tcp":
            listening.setdefault(process.pid, set()).add(str(number))

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("process", "state", "pid", "listens on"):
        table.add_column(heading)
    for heading in ("up", "memory", "restarts"):
        table.add_column(heading, justify="right")
    total = 0
    for state in states.values():
        family = _family(state.pid) if state.pid else []
        held = memory(family)
        total += held
        numbers: set[str] = set().union(*(listening.get(process.pid, set()) for process in family))
        table.add_row(*_row(state, numbers, held, max(0, starts.get(state.name, 1) - 1)))
    overhead = memory(_family(client.pid())) - total
    # Through a pipe the table keeps its width: what reads it is a program.
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"{(total + overhead) / 1e6:.0f} MB in all, {overhead / 1e6:.0f} MB of it for the supervisor", highlight=False)
    if changed := _changed(files, settings):
        console.print(f"settings have changed since make up: {', '.join(changed)}. Next, to apply them: make up", highlight=False)
    stopped = [state.name for state in states.values() if state.state not in (supervision.RUNNING, supervision.STARTING)]
    if stopped:
        console.print(f"not running: {', '.join(stopped)}. Next: make logs NAME={stopped[0]}; make up", highlight=False)
    return 1 if stopped else 0


def _row(state: State, numbers: set[str], memory: int, restarts: int) -> list[str]:
    if not state.pid:
        return [state.name, state.statename.lower(), "-", "-", "-", "-", str(restarts)]
    listens = ", ".join(sorted(numbers, key=int)) or "-"
    up = _duration(max(0.0, time.time() - state.since))
    return [state.name, state.statename.lower(), str(state.pid), listens, up, f"{memory / 1e6:.0f} MB", str(restarts)]
