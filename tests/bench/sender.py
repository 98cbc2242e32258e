"""Sends prepared bodies over several connections as fast as they are taken, in a process of its own.

    python -m tests.bench.sender grpc 127.0.0.1:4317 batches.bin --connections 4
    python -m tests.bench.sender http http://127.0.0.1:4570/v1/traces batches.bin --header x-honeycomb-team=KEY
    python -m tests.bench.sender raw 127.0.0.1:4566 requests.bin --connections 8

The file holds bodies, each behind its length in four bytes; for ``raw`` they are whole HTTP requests, sent as they are. Prints
the seconds until the last was acknowledged. A body that is refused ends the run with an error: a figure for data that was not taken would
be none.
"""

from __future__ import annotations

import argparse
import queue
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import requests

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def write(path: Path, bodies: Iterable[bytes]) -> None:
    """Write bodies for this sender."""
    with path.open("wb") as file:
        for body in bodies:
            file.write(len(body).to_bytes(4, "big") + body)


def read(path: Path) -> list[bytes]:
    """The bodies of a file."""
    bodies = []
    data = path.read_bytes()
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        bodies.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return bodies


def response(connection: socket.socket) -> tuple[int, bytes, bytes]:
    """Status, headers in lower case and body; read with little work, as the client has the cores of what it measures."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _more(connection)
    headers, body = data[:end].lower(), data[end + 4 :]
    length = int(headers.split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0])
    while len(body) < length:
        body += _more(connection)
    return int(headers.split(b" ", 2)[1]), headers, body


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise RuntimeError("the server closed the connection instead of answering")
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", choices=["grpc", "http", "raw"])
    parser.add_argument("target")
    parser.add_argument("file", type=Path)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--header", action="append", default=[])
    arguments = parser.parse_args()
    headers = dict(pair.split("=", 1) for pair in arguments.header)
    work: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for body in read(arguments.file):
        work.put(body)
    errors: list[BaseException] = []

    def over_grpc() -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(arguments.target, options=options) as channel:
            export: Any = channel.unary_unary(EXPORT)
            drain(lambda body: export(body, timeout=60, metadata=list(headers.items()), wait_for_ready=True))

    def over_http() -> None:
        session = requests.Session()
        session.headers.update(headers | {"Content-Type": "application/x-protobuf"})

        def post(body: bytes) -> None:
            session.post(arguments.target, data=body, timeout=60).raise_for_status()

        drain(post)

    def over_sockets() -> None:
        host, _, port = arguments.target.rpartition(":")
        connection: socket.socket | None = None

        def exchange(request: bytes) -> None:
            nonlocal connection
            if connection is None:
                connection = socket.create_connection((host, int(port)), timeout=60)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(request)
            status, headers, answer = response(connection)
            if status != 200:
                raise RuntimeError(f"{status} {answer[:500]!r}")
            if b"\r\nconnection: close" in headers:
                connection.close()
                connection = None

        drain(exchange)

    def drain(send: Any) -> None:
        try:
            while not errors:
                send(work.get_nowait())
        except queue.Empty:
            pass
        except BaseException as error:
            errors.append(error)

    send = {"grpc": over_grpc, "http": over_http, "raw": over_sockets}[arguments.protocol]
    threads = [threading.Thread(target=send) for _ in range(arguments.connections)]
    begin = time.time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise SystemExit(f"the body was not taken: {errors[0]!r}")
    print(begin, time.time())


if __name__ == "__main__":
    main()
