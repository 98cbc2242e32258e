"""The sandbox as a whole and its processes one by one: up, down, start, stop, kill, restart.

Everything here may be called in any state and brings about the state it names: `up` on a running sandbox changes only
what its settings change, `down` leaves no process behind even where supervisord was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import psutil

from collector.build import BuildError, ensure_built
from compose import events, keys, leftovers, ports, supervision
from compose.processes import MARKER, Process, Ready, Tier
from compose.settings import ROOT, ConfigurationError, Settings
from compose.supervision import Client, Files, State, SupervisorError
from services.readiness import READY_PATH

#: Seconds until `up` gives up on a process that neither serves nor dies.
READY_SECONDS = 60.0
#: How often a process may die before `up` calls it broken: once may be a port that was not free yet.
_TRIES = 2

Say = Callable[[str], None]


class SandboxError(Exception):
    """What was asked could not be done. The message says what is wrong and the next command."""


def files_of(settings: Settings) -> Files:
    """Where this sandbox keeps what it runs on."""
    return Files(settings.state_dir.resolve())


@contextlib.contextmanager
def _alone(files: Files, say: Say) -> Iterator[None]:
    """One `up` or `down` at a time; the next one waits. The system releases the lock when its holder dies."""
    deadline = time.monotonic() + READY_SECONDS + 2 * supervision.STOP_SECONDS
    told = False
    with files.lock.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SandboxError(f"another make up or make down is at work in {files.state_dir} and does not end") from None
                if not told:
                    say("another make up or make down is at work, waiting for it")
                told = True
                time.sleep(0.1)
        yield


# --- Up ------------------------------------------------------------------------------------------------------------


def up(settings: Settings, wanted: list[Process], say: Say) -> None:
    """Bring up ``wanted`` (compose.processes), and return when all of it serves. What else runs of this sandbox is ended.

    Raises:
        ConfigurationError: a key is missing, or a folder cannot be used.
        SandboxError: a port is taken, the Collector cannot be built, or a process does not start.
    """
    keys.check(settings)
    files = files_of(settings)
    files.make()
    client = Client(files.socket)
    with _alone(files, say):
        alive = client.alive()
        if not alive and (ended := leftovers.end(files.state_dir)):
            say(f"ended {ended} processes that a killed supervisor had left behind")
        unchanged = {process.name for process in wanted if alive and supervision.is_configured(files, process)}
        running = client.states() if alive else {}
        # An `up` that was interrupted may have written a process down that supervisord never took in.
        serving = {name for name, state in running.items() if state.state == supervision.RUNNING}
        starting = [process for process in wanted if process.name not in unchanged & serving]
        _check_ports(settings, wanted, starting, files)
        _build_collector(wanted)
        began = events.size(files.events)
        supervision.write(files, wanted)
        if alive:
            _apply(client, say)
        else:
            _start_supervisor(files, client)
        supervision.prune(files, wanted)
        _write_settings(files, settings)
        _wait_ready(files, client, wanted, settings.bind_host, began, say)


def _check_ports(settings: Settings, wanted: list[Process], starting: list[Process], files: Files) -> None:
    """Every busy port at once, before anything starts. What this sandbox itself holds does not count."""
    if clashes := ports.clashes(wanted):
        raise ConfigurationError("; ".join(clashes))
    if unusable := ports.unusable(settings.bind_host):
        raise ConfigurationError(unusable)
    if not starting:
        return
    busy = ports.busy(starting, settings.bind_host)
    if busy:
        ours = {process.pid for process in leftovers.find(files.state_dir)}
        busy = [one for one in busy if one.pid not in ours]
    if busy:
        raise SandboxError("\n".join([*(str(one) for one in busy), "nothing was started; then: make up"]))


def _build_collector(wanted: Iterable[Process]) -> None:
    if not {"collector", "xray-daemon"} & {process.name for process in wanted}:
        return
    try:
        ensure_built()
    except BuildError as error:
        raise SandboxError(str(error)) from None


def _start_supervisor(files: Files, client: Client) -> None:
    names = {name.upper() for name in Settings.model_fields} | {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS"}
    # Settings reach a process by its spec alone, so that a later `up` can take one back.
    environment = {name: value for name, value in os.environ.items() if name not in names} | {MARKER: str(files.state_dir)}
    files.socket.unlink(missing_ok=True)
    with (files.log_dir / "supervisord.err").open("w+") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(files.config)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            # Its own session: a Ctrl-C in the terminal, or the terminal's end, is not for the sandbox.
            start_new_session=True,
        )
        deadline = time.monotonic() + READY_SECONDS
        while not client.alive():
            if process.poll() is not None or time.monotonic() > deadline:
                complaints.seek(0)
                words = complaints.readline().strip() or "it says nothing"
                raise SandboxError(f"supervisord does not start: {words}; see {files.log}, then: make doctor")
            time.sleep(0.02)


def _apply(client: Client, say: Say) -> None:
    """Make a running supervisord do what was written: replace what changed, end what is no longer wanted, start the rest."""
    # Asked first: once it has read the new configuration, supervisord no longer says of which tier a removed process is.
    tiers = client.tiers()
    added, changed, removed = client.reload()
    if changed or removed:
        say("settings have changed; " + ", ".join([f"restarting {name}" for name in changed] + [f"stopping {name}" for name in removed]))
        stop_all(client, [*changed, *removed], tiers)
        for name in (*changed, *removed):
            client.remove(name)
    for name in (*added, *changed):
        client.add(name)
    fresh = {*added, *changed}
    for name, state in client.states().items():
        if name not in fresh and state.state in (supervision.STOPPED, supervision.FATAL):
            client.start(name)


def _write_settings(files: Files, settings: Settings) -> None:
    """What the sandbox runs with, for compare and status; no secrets."""
    partial = files.sandbox.with_suffix(".partial")
    partial.write_text(json.dumps(settings.public(), indent=1, sort_keys=True) + "\n")
    partial.replace(files.sandbox)


# --- Ready ---------------------------------------------------------------------------------------------------------


def is_ready(process: Process, host: str) -> bool:
    """Whether the process serves; see compose.processes.Ready for how that is known."""
    address = (ports.reach(host), process.ports[0].number)
    try:
        match process.ready:
            case Ready.LISTENS:
                socket.create_connection(address, timeout=1).close()
                return True
            case Ready.WSGI:
                # The first worker takes this from the backlog as soon as it has loaded the application.
                return _status(address, READY_PATH, patience=10) == 204
            case Ready.HEALTH:
                return _status((address[0], process.health_port), "/", patience=1) == 200
    except (OSError, http.client.HTTPException):
        return False


def _status(address: tuple[str, int], path: str, patience: float) -> int:
    connection = http.client.HTTPConnection(*address, timeout=patience)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def _wait_ready(files: Files, client: Client, wanted: Iterable[Process], host: str, began: int, say: Say) -> None:
    """Return when all of them serve. Raises SandboxError when one keeps dying, or after READY_SECONDS."""
    waiting = {process.name: process for process in wanted}
    given_up = threading.Event()

    def watch(process: Process) -> None:
        while not given_up.is_set():
            if is_ready(process, host):
                waiting.pop(process.name)
                return
            given_up.wait(0.05)

    # One thread each, so that the slow answer of one does not hold the others up; none outlives this command.
    for process in list(waiting.values()):
        threading.Thread(target=watch, args=(process,), daemon=True).start()
    deadline = time.monotonic() + READY_SECONDS
    said = time.monotonic()
    try:
        while names := list(waiting):
            _refuse_broken(files, client, names, began)
            now = time.monotonic()
            if now > deadline:
                raise SandboxError(
                    f"not ready after {READY_SECONDS:g} s: {', '.join(names)}. See: make logs NAME={names[0]}; then: make doctor"
                )
            if now - said > 3:
                said = now
                say(f"waiting for {', '.join(names)}")
            time.sleep(0.05)
    finally:
        given_up.set()


def _refuse_broken(files: Files, client: Client, waiting: list[str], began: int) -> None:
    """Raise when one of ``waiting`` keeps dying; it is stopped, the others are left for a look."""
    states = client.states()
    ends: dict[str, int] = {}
    for event in events.read(files.events, began):
        if event.event == "exited" and not event.expected:
            ends[event.process] = ends.get(event.process, 0) + 1
    broken = [name for name in waiting if ends.get(name, 0) >= _TRIES or states[name].state == supervision.FATAL]
    if not broken:
        return
    for name in broken:
        client.stop(name)
    lines = [f"{name} does not start: {last_words(files.log_of(name), name)}" for name in broken]
    raise SandboxError("\n".join([*lines, f"see: make logs NAME={broken[0]}; mend it, then: make up (make down ends the others)"]))


#: Lines in which a program's server may comment on its end: gunicorn's three, and one more.
_COMMENTS = 4


def last_words(log: Path, name: str) -> str:
    """What a program said last: why it refuses, which ours say as ``<name>: …``, or else its last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError as error:
        return f"no log ({error.strerror})"
    refusals = [line for line in lines[-1 - _COMMENTS :] if line.startswith(f"{name}: ")]
    return (refusals or lines or ["it says nothing"])[-1]


# --- Down ----------------------------------------------------------------------------------------------------------


def down(settings: Settings, say: Say) -> int:
    """End every process of this sandbox; returns how many there were. None left is the only way it returns."""
    files = files_of(settings)
    if not files.folder.is_dir():
        return _end_leftovers(files)
    client = Client(files.socket)
    with _alone(files, say):
        ended = 0
        if client.alive():
            try:
                ended = _shut_down(client)
            except SupervisorError as error:
                say(f"{error}; ending its processes without it")
        return ended + _end_leftovers(files)


def _shut_down(client: Client) -> int:
    names = [state.name for state in client.states().values() if state.pid]
    stop_all(client, names, client.tiers())
    supervisor = psutil.Process(client.pid())
    client.shutdown()
    deadline = time.monotonic() + 10
    # Asking wakes supervisord, which otherwise looks after its children once a second.
    while not leftovers.has_ended(supervisor) and time.monotonic() < deadline:
        client.alive()
        time.sleep(0.02)
    return len(names)


def _end_leftovers(files: Files) -> int:
    try:
        ended = leftovers.end(files.state_dir)
    except leftovers.LeftoverError as error:
        raise SandboxError(str(error)) from None
    # STATE_DIR may be, or lie below, something that is no folder: then nothing of ours is there.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        files.socket.unlink()
    if files.socket.parent != files.folder:
        with contextlib.suppress(OSError):
            files.socket.parent.rmdir()
    return ended


def stop_all(client: Client, names: Iterable[str], tiers: Mapping[str, Tier]) -> None:
    """Stop these processes tier by tier, all of a tier at once; returns when they have ended."""
    for tier in Tier:
        members = {name for name in names if tiers.get(name, Tier.APPLICATION) == tier}
        for name in members:
            client.stop(name)
        _wait_stopped(client, members)


def _wait_stopped(client: Client, names: set[str]) -> None:
    deadline = time.monotonic() + supervision.STOP_SECONDS + 10
    while alive := {name for name, state in client.states().items() if name in names and state.pid}:
        if time.monotonic() > deadline:
            raise SupervisorError(f"{', '.join(sorted(alive))} did not end within {supervision.STOP_SECONDS + 10} s")
        time.sleep(0.02)


# --- One process ---------------------------------------------------------------------------------------------------


def _running(settings: Settings, name: str) -> tuple[Files, Client, State]:
    """The supervised process called ``name``. Raises SandboxError when there is no sandbox, or no such process in it."""
    files = files_of(settings)
    client = Client(files.socket)
    if not client.alive():
        raise SandboxError("the sandbox is not up; start it: make up")
    states = client.states()
    if name not in states:
        asked = f"there is no process {name!r}" if name else "say which process"
        raise SandboxError(f"{asked}; choose NAME= from {', '.join(states)}")
    return files, client, states[name]


def start(settings: Settings, wanted: list[Process], name: str, say: Say) -> None:
    """Start one process of ``wanted`` and wait until it serves. Nothing to do where it runs."""
    files, client, state = _running(settings, name)
    began = events.size(files.events)
    if not state.pid:
        client.start(name)
    _wait_ready(files, client, [process for process in wanted if process.name == name], settings.bind_host, began, say)


def stop(settings: Settings, name: str) -> None:
    """Stop one process in order (SIGTERM) and wait for its end. It stays stopped until it is started or the next `up`."""
    _, client, _ = _running(settings, name)
    client.stop(name)
    _wait_stopped(client, {name})


def kill(settings: Settings, name: str) -> int:
    """SIGKILL one process and all it started, and wait for its end; returns its pid. The supervisor starts it again."""
    files, client, state = _running(settings, name)
    if not state.pid:
        raise SandboxError(f"{name} does not run ({state.statename}); start it: make start NAME={name}")
    events.record(files.events, name, "killed", state.pid, expected=True)
    # Each supervised process leads a group of its own.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(state.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while client.states()[name].pid == state.pid and time.monotonic() < deadline:
        time.sleep(0.02)
    return state.pid
