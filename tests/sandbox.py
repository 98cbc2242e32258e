"""The whole sandbox in a test: up, load, compare, down, through the same commands a person types.

    with Sandbox.start(tmp_path) as sandbox:
        run = sandbox.load(requests=100)
        report = sandbox.compare(run)

Every sandbox has its own state folder and its own free ports, so it disturbs no other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from compose import leftovers
from compose.settings import ROOT, Settings
from loadtest.ledger import finished
from loadtest.runs import runs
from tests.ports import free_ports
from tests.waiting import until

#: Settings that are ports: each sandbox gets free ones. The daemon's is UDP and TCP with the same number.
PORTS = [name for name in Settings.model_fields if name.endswith("_port")]

#: Seconds any one command may take before the test fails; far above what it takes.
BOUND = 300


@dataclass
class Result:
    """What a command printed and its exit status."""

    status: int
    out: str
    err: str


@dataclass
class Sandbox:
    """One running sandbox and the commands against it."""

    state_dir: Path
    environment: dict[str, str]
    loads: list[subprocess.Popen[str]] = field(default_factory=list)
    #: Runs that were there before the newest load was begun.
    earlier: frozenset[str] = frozenset()

    @classmethod
    @contextmanager
    def start(cls, state_dir: Path, **settings: str) -> Iterator[Sandbox]:
        """Bring a sandbox up and take it down again whatever happens."""
        sandbox = cls.prepare(state_dir, **settings)
        try:
            up = sandbox.run("compose", "up")
            assert up.status == 0, f"up failed:\n{up.out}\n{up.err}"
            yield sandbox
        finally:
            for load in sandbox.loads:
                if load.poll() is None:
                    load.kill()
                load.communicate()
            down = sandbox.run("compose", "down")
            assert down.status == 0, f"down failed:\n{down.out}\n{down.err}"
            assert sandbox.processes() == {}, "down has left processes behind"

    @classmethod
    def prepare(cls, state_dir: Path, **settings: str) -> Sandbox:
        """A sandbox with its own folder and ports that is not up yet."""
        names = {name.upper() for name in Settings.model_fields}
        environment = {name: value for name, value in os.environ.items() if name not in names}
        environment["STATE_DIR"] = str(state_dir)
        environment |= {name.upper(): str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
        environment |= {name.upper(): value for name, value in settings.items()}
        return cls(state_dir, environment)

    def settings(self) -> Settings:
        """The settings this sandbox runs with, keys included."""
        fields = {name.lower(): value for name, value in self.environment.items() if name.lower() in Settings.model_fields}
        return Settings(_env_file=None, **fields)  # type: ignore[arg-type, call-arg]

    def run(self, module: str, *arguments: str, **settings: str) -> Result:
        """Run ``python -m module arguments`` as `make` does."""
        environment = self.environment | {name.upper(): value for name, value in settings.items()}
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def load(self, requests: int, **settings: str) -> str:
        """Run a load to its end; the run's id."""
        load = self.begin_load(requests, **settings)
        return self.finish_load(load)

    def begin_load(self, requests: int, **settings: str) -> subprocess.Popen[str]:
        """Start a load in the background."""
        self.earlier = frozenset(self.runs())
        environment = self.environment | {"REQUESTS": str(requests)} | {name.upper(): value for name, value in settings.items()}
        load = subprocess.Popen(
            [sys.executable, "-m", "loadtest"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.loads.append(load)
        return load

    def finish_load(self, load: subprocess.Popen[str]) -> str:
        """Wait for a load that was begun; the run's id."""
        output, _ = load.communicate(timeout=BOUND)
        assert load.returncode == 0, f"load ended with {load.returncode}:\n{output}"
        return self.newest_run()

    def runs(self) -> list[str]:
        """Every run's id, oldest first."""
        return runs(self.settings())

    def newest_run(self) -> str:
        """The id of the run that the newest load made."""
        (run,) = set(self.runs()) - self.earlier
        return run

    def finished(self) -> int:
        """Requests the newest load has finished so far; none while it has not made its run yet."""
        return finished(self.settings().runs_dir / self.newest_run()) if set(self.runs()) - self.earlier else 0

    def wait_for_requests(self, count: int) -> None:
        """Wait until the running load has finished this many requests."""
        until(lambda: self.finished() >= count, 120, f"{count} finished requests")

    def compare(self, run: str, status: int | None = None, **settings: str) -> dict[str, Any]:
        """Compare's JSON document for a run; with ``status``, the exit status it must have."""
        result = self.run("services.compare", run=run, format="json", **settings)
        assert status is None or result.status == status, (
            f"compare ended with {result.status}, not {status}:\n{result.out[:4000]}\n{result.err}"
        )
        document: dict[str, Any] = json.loads(result.out)
        document["exit_status"] = result.status
        return document

    def process(self, action: str, name: str) -> None:
        """start, stop or kill one process."""
        result = self.run("compose", action, name)
        assert result.status == 0, f"{action} {name}: {result.out}{result.err}"

    def processes(self) -> dict[str, list[psutil.Process]]:
        """What runs of this sandbox, by the name of the process it belongs to; the supervisor as ``supervisor``."""
        found: dict[str, list[psutil.Process]] = defaultdict(list)
        for process, environment in leftovers.find(self.state_dir).items():
            found[environment.get(leftovers.NAME, "supervisor")].append(process)
        return dict(found)
