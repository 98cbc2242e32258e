"""What telemetry costs the application: its rate and latency bare, with each backend alone, with all.

One gunicorn worker on a core of its own; the client, the Collector and the vendors on the others. Rounds take the variants
in turn, so that a machine that slows down slows all of them; each ratio is against bare in the same round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from compose.settings import ROOT, Backend
from tests.bench.figures import Section, number
from tests.ports import free_port, listens
from tests.sandbox import Sandbox
from tests.waiting import until

VARIANTS = {
    "bare": "",
    "honeycomb": Backend.HONEYCOMB.value,
    "xray": Backend.XRAY.value,
    "cloudwatch": Backend.CLOUDWATCH.value,
    "rollbar": Backend.ROLLBAR.value,
    "all four": ",".join(Backend),
}


HEADINGS = ("variant", "requests/s", "÷ bare", "CPU, ms/request", "p50, ms", "p99, ms", "reach")
REACH = {"all four": "0.6 of bare"}


@dataclass
class Round:
    """One measurement of one variant. ``cpu_ms`` is the worker's CPU time a request, its exporters' included."""

    rate: float
    p50: float
    p99: float
    cpu_ms: float


def pin(process: psutil.Process, cores: list[int]) -> None:
    """Keep a process and its threads on these cores, where the system can."""
    if cores and hasattr(process, "cpu_affinity"):
        process.cpu_affinity(cores)
        for thread in process.threads():
            os.sched_setaffinity(thread.id, cores)


@contextmanager
def cruddur(sandbox: Sandbox, folder: Path, **settings: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run a cruddur of its own beside the sandbox's, with a database of its own; its address and gunicorn's master."""
    port = free_port()
    own = {"CRUDDUR_PORT": str(port), "DATABASE_URL": f"sqlite:///{folder / 'bench.sqlite'}"}
    command = [sys.executable, "-m", "gunicorn", "-c", "services/gunicorn.conf.py", "services.cruddur.app:create_app()"]
    with (folder / "cruddur.log").open("a") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=sandbox.environment | own | settings, stdout=log, stderr=log)
    try:
        until(lambda: listens(port), 30, f"cruddur to listen; see {folder / 'cruddur.log'}")
        yield f"http://127.0.0.1:{port}", psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(60)


def measure(sandbox: Sandbox, folder: Path, backends: str, seconds: float) -> Round:
    """Start a cruddur with these backends, load it, stop it."""
    cores = list(range(os.cpu_count() or 1))
    with cruddur(sandbox, folder, BACKENDS=backends) as (url, master):
        (worker,) = until(lambda: master.children(), 10, "gunicorn's worker")
        pin(worker, cores[:1])
        client = [sys.executable, "-m", "tests.bench.client", url, "--seconds"]
        run_pinned([*client, "1.5"], cores[1:] or cores)
        before = worker.cpu_times()
        answer = json.loads(run_pinned([*client, str(seconds)], cores[1:] or cores))
        after = worker.cpu_times()
    used = after.user + after.system - before.user - before.system
    return Round(answer["rate"], answer["p50"], answer["p99"], used / answer["requests"] * 1000)


def run_pinned(command: list[str], cores: list[int]) -> str:
    """Run a command on these cores; its standard output."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pin(psutil.Process(process.pid), cores)
    output, _ = process.communicate(timeout=120)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return output


def run(sandbox: Sandbox, folder: Path, rounds: int, seconds: float, say: Callable[[str], None], title: str) -> Section:
    """Measure all variants in turn, ``rounds`` times."""
    cores = list(range(os.cpu_count() or 1))
    sandbox_processes = [process for group in sandbox.processes().values() for process in group]
    for process in sandbox_processes:
        pin(process, cores[1:] or cores)
    results: dict[str, list[Round]] = {name: [] for name in VARIANTS}
    names = list(VARIANTS)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            say(f"application, round {turn + 1} of {rounds}: {name}")
            results[name].append(measure(sandbox, folder, VARIANTS[name], seconds))
    for process in sandbox_processes:
        pin(process, cores)
    return section(title, results)


def section(title: str, results: dict[str, list[Round]]) -> Section:
    """A row for each variant: medians over its rounds, the ratio's too."""
    bare = results["bare"]
    rows = []
    for name, measured in results.items():
        ratio = statistics.median(each.rate / base.rate for each, base in zip(measured, bare, strict=True))
        columns = ([each.rate for each in measured], [each.cpu_ms for each in measured], [each.p50 for each in measured])
        rate, cpu, p50 = (number(statistics.median(values)) for values in columns)
        p99 = number(statistics.median(each.p99 for each in measured))
        rows.append((name, rate, f"{ratio:.2f}", cpu, p50, p99, REACH.get(name, "")))
    return Section(title, HEADINGS, frozenset(HEADINGS[1:-1]), rows)
