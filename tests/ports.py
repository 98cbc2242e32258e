"""Ports for tests: free ones, and whether somebody listens on one."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """Ports that are free for TCP and UDP on loopback right now; all of them differ."""
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < count:
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(tcp)
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            held.append(udp)
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    finally:
        for each in held:
            each.close()
    return ports


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]


def listens(port: int) -> bool:
    """Whether somebody takes TCP connections on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
