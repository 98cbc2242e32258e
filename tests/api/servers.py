"""Local vendors as real processes, for tests over the wire.

    with start_vendor("aws", tmp_path) as aws:
        client = boto3.client("xray", endpoint_url=aws.url, ...)
        aws.kill()      # SIGKILL, as a crash would
        aws.start()     # same ports, same state
        aws.restart()   # SIGTERM, then start

Every process gets free ports, its own STATE_DIR and every other setting at its default, whatever the developer's
environment or ``.env`` says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from compose.settings import ROOT, Settings
from tests.ports import free_ports, listens
from tests.waiting import until

Name = Literal["aws", "honeycomb", "rollbar"]

#: The settings that hold each vendor's ports; the first one is the port of its HTTP API.
PORTS: dict[Name, tuple[str, ...]] = {
    "aws": ("aws_port",),
    "honeycomb": ("honeycomb_port", "honeycomb_grpc_port"),
    "rollbar": ("rollbar_port",),
}

#: Becomes the program it is given, which the kernel kills when the test run dies before it could stop it (prctl, Linux).
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
os.execv(sys.argv[1], sys.argv[1:])
"""

START_SECONDS = 60
STOP_SECONDS = 30


def hermetic_settings(**overrides: Any) -> Settings:
    """Settings made of defaults and ``overrides`` only, not of this machine's environment or ``.env``."""
    values = {name: field.get_default() for name, field in Settings.model_fields.items()}
    make: Any = Settings  # _env_file is pydantic-settings' own argument, which mypy does not see
    settings: Settings = make(_env_file=None, **(values | overrides))
    return settings


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a child process that must see exactly ``settings``."""
    names = {name.upper() for name in Settings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name.upper() not in names}
    # An empty variable, not an absent one: it wins over a line of .env.
    return inherited | dict.fromkeys(names, "") | settings.environment() | {"PYTHONUNBUFFERED": "1"}


class Vendor:
    """A local vendor's process. ``settings`` holds its ports and the keys it accepts."""

    def __init__(self, name: Name, settings: Settings, extra: dict[str, str]) -> None:
        self.name = name
        self.settings = settings
        self.ports: tuple[int, ...] = tuple(getattr(settings, setting) for setting in PORTS[name])
        self.port = self.ports[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = settings.state_dir / f"{name}.log"
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def log(self) -> str:
        """What the process wrote on standard output and standard error, over all its starts."""
        return self.log_file.read_text(errors="replace")

    def start(self) -> Vendor:
        """Start the process and return when all its ports take connections."""
        self.settings.state_dir.mkdir(parents=True, exist_ok=True)
        self._log = self.log_file.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _DIE_WITH_PARENT, sys.executable, "-m", f"localstack.{self.name}"],
            cwd=ROOT,
            env=environment(self.settings) | self._extra,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            until(self._ready, START_SECONDS, f"{self.name} to listen on {self.ports}")
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> int:
        """SIGTERM; the exit status. Kills the process and fails when it does not end in time."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: the crash that acknowledged data must survive."""
        self._end(signal.SIGKILL)

    def restart(self) -> Vendor:
        """Stop in order, then start on the same ports with the same state."""
        self.stop()
        return self.start()

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with status {self.process.returncode}:\n{self.log[-4000:]}")
        return all(listens(port) for port in self.ports)

    def _end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end {STOP_SECONDS} s after {number.name}:\n{self.log[-4000:]}") from None
        finally:
            if self._log is not None:
                self._log.close()
                self._log = None
        return status

    def __enter__(self) -> Vendor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.stop()


def start_vendor(name: Name, state_dir: Path, **env: str) -> Vendor:
    """Start ``localstack.<name>`` with its state below ``state_dir`` and return when it takes connections.

    ``env`` are settings or other environment variables in upper case, such as ``ROLLBAR_ACCESS_TOKEN="…"``.
    """
    fields = {key.lower(): value for key, value in env.items() if key.lower() in Settings.model_fields}
    extra = {key: value for key, value in env.items() if key.lower() not in Settings.model_fields}
    ports = dict(zip(PORTS[name], free_ports(len(PORTS[name])), strict=True))
    settings = hermetic_settings(**({"state_dir": state_dir} | ports | fields))
    return Vendor(name, settings, extra).start()
