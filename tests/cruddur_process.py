"""Runs the services as users run them, under gunicorn, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from compose.settings import ROOT
from services.readiness import READY_PATH
from tests.waiting import until


@dataclass
class Service:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, seconds: float = 15) -> int:
        """Ask it to end and wait; answers its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def running(name: str, port: int, environment: Mapping[str, str], directory: Path) -> Iterator[Service]:
    """Run ``cruddur`` or ``profiles`` on ``port`` until the block ends; wait until it answers."""
    log = directory / f"{name}-{port}.log"
    command = [sys.executable, "-m", "gunicorn", "-c", "services/gunicorn.conf.py", f"services.{name}.app:create_app()"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "AWS_", "COVERAGE_"))}
    own = {f"{name.upper()}_PORT": str(port), "STATE_DIR": str(directory), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env={**clean, **own, **environment}, stdout=output, stderr=subprocess.STDOUT)
    service = Service(f"http://127.0.0.1:{port}", process, log)
    try:
        until(lambda: process.poll() is not None or _answers(port), 60, f"{name} to listen")
        assert process.poll() is None, log.read_text()
        yield service
    finally:
        try:
            service.stop()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _answers(port: int) -> bool:
    """Whether a worker serves, asked outside of what is instrumented."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"http://127.0.0.1:{port}{READY_PATH}", timeout=10).ok
    except requests.ConnectionError:
        return False
