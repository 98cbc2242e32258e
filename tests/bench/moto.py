"""moto's own server: the yardstick of the local AWS."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.ports import free_port, listens
from tests.waiting import until


@contextmanager
def moto_server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Its address and its process; its log goes to ``folder``."""
    port = free_port()
    with (folder / "moto.log").open("a") as log:
        process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        until(lambda: listens(port), 60, "moto to listen")
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)
