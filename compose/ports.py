"""Which ports are taken, and by whom."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import psutil

from compose.processes import Port, Process

Protocol = Literal["tcp", "udp"]


@dataclass(frozen=True)
class Busy:
    """A port that cannot be had: what it was wanted for, and who holds it (pid None: the system does not say)."""

    process: str
    port: Port
    protocol: Protocol
    reason: str
    pid: int | None
    command: str

    def __str__(self) -> str:
        where = f"port {self.port.number}/{self.protocol} ({self.process}, {self.port.use})"
        setting = f"set {self.port.setting} to another"
        if self.reason:
            return f"{where} cannot be opened: {self.reason}; {setting}"
        if self.pid is None:
            return f"{where} is held by another user's process; {setting}, or end it (sudo ss -lntup shows it)"
        return f"{where} is held by pid {self.pid} ({self.command}); end it, or {setting}"


def reach(host: str) -> str:
    """The address to connect to where ``host`` is the one to bind: a wildcard is reached through loopback."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104  (names it, binds nothing)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def why_not(host: str, number: int, protocol: Protocol) -> OSError | None:
    """Why ``host:number`` cannot be bound right now; None when it can."""
    with socket.socket(_family(host), socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM) as probe:
        if protocol == "tcp":
            # As servers do: a connection of yesterday in TIME_WAIT does not make the port busy, a listener does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            return error
        return None


def holder(number: int, protocol: Protocol) -> psutil.Process | None:
    """The process that listens on a port; None where there is none or the system does not say."""
    for process, _, _ in listeners({(number, protocol)}):
        return process
    return None


def listeners(wanted: set[tuple[int, Protocol]] | None = None) -> Iterator[tuple[psutil.Process, int, Protocol]]:
    """Each process that listens, with the port and protocol; only ``wanted`` ones if given. Leaves out what it may not see."""
    try:
        connections = psutil.net_connections("inet")
    except psutil.AccessDenied:
        return
    for connection in connections:
        protocol: Protocol = "tcp" if connection.type == socket.SOCK_STREAM else "udp"
        if connection.pid is None or not connection.laddr or (protocol == "tcp" and connection.status != psutil.CONN_LISTEN):
            continue
        number = connection.laddr.port
        if wanted is not None and (number, protocol) not in wanted:
            continue
        try:
            yield psutil.Process(connection.pid), number, protocol
        except psutil.NoSuchProcess:
            continue


def _describe(process: psutil.Process) -> str:
    """Its command line, short; never its arguments' values, which may be somebody's password."""
    try:
        words = process.cmdline()
        name = process.name()
        module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    except psutil.Error:
        return "unknown"
    return f"{name} -m {module}" if module else name


def unusable(host: str) -> str | None:
    """Why nothing can listen on ``host`` (BIND_HOST) whatever the port, in one line; None when it can."""
    error = why_not(host, 0, "tcp")
    return None if error is None else f"BIND_HOST={host!r} cannot be listened on: {error.strerror or error}; 127.0.0.1 always can"


def clashes(processes: Iterable[Process]) -> list[str]:
    """Numbers that two ports of our own settings share, one line each."""
    seen: dict[tuple[int, str], str] = {}
    found = []
    for process in processes:
        for port in process.ports:
            for protocol in port.protocols:
                other = seen.setdefault((port.number, protocol), port.setting)
                if other != port.setting:
                    found.append(f"{other} and {port.setting} are both {port.number}; set one of them to another port")
    return found


def busy(processes: Iterable[Process], host: str, ours: frozenset[int] = frozenset()) -> list[Busy]:
    """The ports of ``processes`` that cannot be had. Those held by a pid in ``ours`` count as free."""
    found = []
    for process in processes:
        for port in process.ports:
            for protocol in port.protocols:
                error = why_not(host, port.number, protocol)
                if error is None:
                    continue
                if error.errno != errno.EADDRINUSE:
                    found.append(Busy(process.name, port, protocol, error.strerror or str(error), None, ""))
                    continue
                held_by = holder(port.number, protocol)
                if held_by is None:
                    found.append(Busy(process.name, port, protocol, "", None, ""))
                elif held_by.pid not in ours:
                    found.append(Busy(process.name, port, protocol, "", held_by.pid, _describe(held_by)))
    return found
