"""The samplers of the real clients, each in a process of its own that asks X-Ray by its own threads and clocks.

    with SamplerProcess("x-ray sdk", aws.port) as sampler:
        sampler.ask(50, "/login")     # how many of 50 requests for this path it samples

``x-ray sdk`` is the sampler of aws-xray-sdk, set up as the services do; ``opentelemetry`` is the X-Ray remote sampler of AWS's
distribution of OpenTelemetry for Python. The latter has no place in the project's environment: each of its releases pins one release
of OpenTelemetry, another than the project's, and fifty instrumentations. Its sampler needs none of them, so it is installed
alone, below ``.build/``, once, with its hash checked.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from compose.settings import ROOT

Kind = Literal["x-ray sdk", "opentelemetry"]

LOCK = ROOT / "requirements" / "adot.lock"
SERVICE = "Cruddur"


class SamplerProcess:
    """One client of X-Ray's sampling that uses ``port`` of this machine as its daemon."""

    def __init__(self, kind: Kind, port: int) -> None:
        if kind == "opentelemetry":
            adot()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.api.samplers", kind, str(port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, requests: int, path: str = "/") -> int:
        """How many of so many requests are sampled."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{requests} {path}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the sampler ended with status {self._process.wait(10)}"
        return int(answer)

    def __enter__(self) -> SamplerProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def adot() -> Path:
    """The folder from which AWS's distribution can be imported; installed at the first call."""
    build = ROOT / ".build"
    folder = build / f"adot-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    build.mkdir(exist_ok=True)
    with (build / "adot.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps", "--require-hashes"]
            result = subprocess.run([*pip, "--target", str(partial), "-r", str(LOCK)], capture_output=True, text=True, timeout=300)
            assert result.returncode == 0, f"AWS's sampler cannot be installed from the package index:\n{result.stderr[-2000:]}"
            partial.rename(folder)
    return folder


def x_ray_sdk(port: int) -> Callable[[str], bool]:
    from aws_xray_sdk.core.context import Context
    from aws_xray_sdk.core.daemon_config import DaemonConfig
    from aws_xray_sdk.core.sampling.sampler import DefaultSampler

    sampler = DefaultSampler()
    sampler.load_settings(DaemonConfig(f"tcp:127.0.0.1:{port} udp:127.0.0.1:{port}"), Context(context_missing="IGNORE_ERROR"))
    sampler.start()
    return lambda path: bool(sampler.should_trace({"host": "h", "method": "GET", "path": path, "service": SERVICE}))


def opentelemetry(port: int) -> Callable[[str], bool]:
    import importlib
    import secrets

    from opentelemetry.sdk.resources import Resource

    sys.path.append(str(adot()))
    module: Any = importlib.import_module("amazon.opentelemetry.distro.sampler.aws_xray_remote_sampler")
    sampler = module.AwsXRayRemoteSampler(Resource.create({"service.name": SERVICE}), endpoint=f"http://127.0.0.1:{port}")

    def decide(path: str) -> bool:
        attributes = {"url.path": path, "http.request.method": "GET"}
        return bool(sampler.should_sample(None, secrets.randbits(128), "GET", attributes=attributes).decision.is_sampled())

    return decide


def main() -> None:
    make = {"x-ray sdk": x_ray_sdk, "opentelemetry": opentelemetry}[sys.argv[1]]
    decide = make(int(sys.argv[2]))
    for line in sys.stdin:
        requests, path = line.split()
        sys.stdout.write(f"{sum(decide(path) for _ in range(int(requests)))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
