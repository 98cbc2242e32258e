"""supervisord: its configuration written from the declaration, and its XML-RPC over a unix socket.

    files = Files(state_dir)
    write(files, processes(settings))
    client = Client(files.socket)
    client.alive()

Everything lies below ``<state dir>/supervisor/``: ``supervisord.conf`` and one ``specs/<name>-<hash>.json`` a process
(see compose.launch). A spec's name changes with its content, and so does the program's command in the configuration:
that is how supervisord itself finds out which processes a changed setting concerns.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shlex
import socket
import stat
import sys
import tempfile
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from compose.events import SUBSCRIBED
from compose.leftovers import NAME, TIER
from compose.processes import MARKER, Process, Tier
from compose.settings import ROOT, ConfigurationError

#: The longest path a unix socket may have is 103 bytes on macOS (107 on Linux), and supervisord first binds "<path>.<pid>".
_LONGEST_SOCKET = 90

#: Seconds a process gets between SIGTERM and SIGKILL: enough for every exporter's last flush.
STOP_SECONDS = 20

#: Seconds until an answer of supervisord is given up; it answers from one thread within milliseconds.
_RPC_TIMEOUT = 10.0

LOG_BYTES = 5_000_000
LOG_BACKUPS = 3


class SupervisorError(Exception):
    """supervisord cannot do what was asked. The message is one line."""


@dataclass(frozen=True)
class Files:
    """Where everything of one sandbox's supervision lies."""

    state_dir: Path

    @property
    def folder(self) -> Path:
        return self.state_dir / "supervisor"

    @property
    def config(self) -> Path:
        return self.folder / "supervisord.conf"

    @property
    def log(self) -> Path:
        return self.log_dir / "supervisord.log"

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "logs"

    @property
    def pid(self) -> Path:
        return self.folder / "supervisord.pid"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def events(self) -> Path:
        return self.state_dir / "events.jsonl"

    @property
    def sandbox(self) -> Path:
        return self.state_dir / "sandbox.json"

    def log_of(self, name: str) -> Path:
        return self.log_dir / f"{name}.log"

    @property
    def socket(self) -> Path:
        """The socket; in a private folder with a short name where the state folder's path is too long for one."""
        path = self.folder / "supervisor.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET:
            return path
        digest = hashlib.sha256(os.fsencode(self.state_dir)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"parallax-{os.getuid()}-{digest}" / "supervisor.sock"

    def make(self) -> None:
        """Make the folders. Raises ConfigurationError when one cannot be made or is not ours alone."""
        try:
            for path in (self.state_dir, self.log_dir, self.state_dir / "data", self.state_dir / "queues", self.state_dir / "runs"):
                path.mkdir(parents=True, exist_ok=True)
            for path in (self.folder, self.folder / "specs", self.socket.parent):
                path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"STATE_DIR: {error.filename}: {error.strerror}; make room for it or set another STATE_DIR") from None
        found = self.socket.parent.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigurationError(f"STATE_DIR: {self.socket.parent} belongs to another user; remove it or set another STATE_DIR")


# --- Configuration -------------------------------------------------------------------------------------------------


def _ini(value: str | Path) -> str:
    """A value for supervisord's configuration; refused where it would mean something else there (`` ;`` begins a comment,
    ``%`` an expansion, of which some values see two)."""
    text = str(value)
    if re.search(r"[\r\n%]|\s[;#]", text):
        raise ConfigurationError(f"STATE_DIR: supervisord cannot use the path {text!r} with its '%', ' ;' or ' #'; use another folder")
    return text


def _spec(files: Files, process: Process) -> str:
    marks = {MARKER: str(files.state_dir), NAME: process.name, TIER: str(process.tier.value), "PYTHONUNBUFFERED": "1"}
    content = {
        "name": process.name,
        "command": list(process.command),
        "environment": process.environment | marks,
        "directory": str(ROOT),
        "events": str(files.events),
    }
    return json.dumps(content, indent=1, sort_keys=True)


def _python(*words: str | Path) -> str:
    # -S -E: neither site-packages nor the user's PYTHON* variables, for the sake of a quick start and little memory.
    return _ini(" ".join(shlex.quote(str(word)) for word in (sys.executable, "-S", "-E", "-m", *words)))


def _spec_file(files: Files, process: Process) -> tuple[Path, str]:
    content = _spec(files, process)
    return files.folder / "specs" / f"{process.name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.json", content


def is_configured(files: Files, process: Process) -> bool:
    """Whether the configuration as it was last written has this process exactly like this."""
    return _spec_file(files, process)[0].exists()


def prune(files: Files, processes: Iterable[Process]) -> None:
    """Remove the specs of processes that supervisord has been told to forget."""
    for spec in set((files.folder / "specs").iterdir()) - {_spec_file(files, process)[0] for process in processes}:
        spec.unlink()


def write(files: Files, processes: Iterable[Process]) -> None:
    """Write the configuration and the specs of ``processes``. Nothing is started, and nothing taken from what runs."""
    sections = [
        "# Generated by `make up` from compose/processes.py. Changes are overwritten.",
        f"[unix_http_server]\nfile={_ini(files.socket)}\nchmod=0700",
        f"[supervisord]\nlogfile={_ini(files.log)}\nlogfile_maxbytes={LOG_BYTES}\nlogfile_backups=1\npidfile={_ini(files.pid)}\n"
        f"nodaemon=true\nsilent=true\ndirectory={_ini(ROOT)}",
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        f"[eventlistener:events]\ncommand={_python('compose.events', files.events)}\nevents={','.join(SUBSCRIBED)}\nbuffer_size=1000\n"
        f"stderr_logfile={_ini(files.log_dir / 'events.log')}\nstderr_logfile_maxbytes={LOG_BYTES}\nstderr_logfile_backups=1\npriority=1\n"
        # Told of events from its first moment on.
        "startsecs=0",
    ]
    for process in processes:
        spec, content = _spec_file(files, process)
        _write_private(spec, content)
        sections.append(
            f"[program:{process.name}]\ncommand={_python('compose.launch', spec)}\n"
            f"priority={_priority(process.tier)}\n"
            # A process that dies comes back at once; one that does not get through its first second waits 1, 2, 3… s between tries.
            "autorestart=true\nstartsecs=1\nstartretries=50\n"
            # SIGTERM goes to the program alone, which ends its own workers in order; SIGKILL to all of them.
            f"stopsignal=TERM\nstopwaitsecs={STOP_SECONDS}\nstopasgroup=false\nkillasgroup=true\n"
            f"redirect_stderr=true\nstdout_logfile={_ini(files.log_of(process.name))}\n"
            f"stdout_logfile_maxbytes={LOG_BYTES}\nstdout_logfile_backups={LOG_BACKUPS}"
        )
    _write_private(files.config, "\n\n".join(sections) + "\n")


def _priority(tier: Tier) -> int:
    """supervisord starts the lowest first and stops the highest first, should it be ended without us."""
    return 100 * (10 - tier.value)


def tier_of(priority: int) -> Tier | None:
    """The tier of a group with this priority; None for the event listener's."""
    return next((tier for tier in Tier if _priority(tier) == priority), None)


def _write_private(path: Path, content: str) -> None:
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
    partial.replace(path)


# --- XML-RPC -------------------------------------------------------------------------------------------------------


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_RPC_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        # One connection for each call: supervisord answers from one thread and we ask seldom.
        self.close()
        connection = _UnixConnection(self._path)
        self._connection = host, connection
        return connection


#: Process states ("Subprocesses", Supervisor documentation).
STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL = 0, 10, 20, 30, 40, 100, 200


@dataclass(frozen=True)
class State:
    """What supervisord says of one process. ``since``: epoch seconds of its last start, 0 before the first."""

    name: str
    state: int
    statename: str
    pid: int
    since: int


class Client:
    """supervisord over its socket. Each method raises SupervisorError when it does not answer or refuses."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = _UnixTransport(self._path)
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
        try:
            return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise SupervisorError(f"{method}{arguments}: {fault.faultString}") from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise SupervisorError(f"supervisord does not answer on {self._path}: {error}") from None
        finally:
            transport.close()

    def alive(self) -> bool:
        """Whether supervisord is there and answers."""
        try:
            self._call("supervisor.getState")
        except SupervisorError:
            return False
        return True

    def pid(self) -> int:
        """Its own process id."""
        return cast(int, self._call("supervisor.getPID"))

    def states(self) -> dict[str, State]:
        """Every supervised process by name; not the event listener."""
        rows = self._call("supervisor.getAllProcessInfo")
        states = [State(row["name"], row["state"], row["statename"], row["pid"], row["start"]) for row in rows]
        return {state.name: state for state in states if state.name != "events"}

    def tiers(self) -> dict[str, Tier]:
        """The tier of every process in the configuration that supervisord has read last."""
        rows = self._call("supervisor.getAllConfigInfo")
        return {row["name"]: tier for row in rows if (tier := tier_of(row["process_prio"])) is not None}

    def reload(self) -> tuple[list[str], list[str], list[str]]:
        """Read the configuration again; the names that are new, changed and gone. Starts and stops nothing."""
        added, changed, removed = self._call("supervisor.reloadConfig")[0]
        return added, changed, removed

    def add(self, name: str) -> None:
        """Take a process of the configuration in and start it."""
        self._call("supervisor.addProcessGroup", name)

    def remove(self, name: str) -> None:
        """Forget a process that has stopped."""
        self._call("supervisor.removeProcessGroup", name)

    def start(self, name: str) -> None:
        """Start a process; returns before it is ready."""
        self._call("supervisor.startProcess", name, False)

    def stop(self, name: str) -> None:
        """Begin to stop a process; returns before it has ended. Nothing to do where it does not run."""
        try:
            self._call("supervisor.stopProcess", name, False)
        except SupervisorError as error:
            if "NOT_RUNNING" not in str(error):
                raise

    def shutdown(self) -> None:
        """Begin to end supervisord itself."""
        self._call("supervisor.shutdown")
