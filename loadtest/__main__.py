"""``python -m loadtest``: one load test, as the settings say (PROFILE, REQUESTS, USERS, SEED, SAMPLING, UI, LOCUST_WORKERS, TARGET_URL).

Makes the run, starts Locust, shows how far it is, and completes the manifest. Exit status: 0 every request got an answer, 1 some did
not or were not sent, 2 the load could not start.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compose.settings import ROOT, ConfigurationError, Settings, load_or_exit
from loadtest.ledger import LedgerError, Tally, finished
from loadtest.profiles import Profile, chosen
from loadtest.runs import RUN_FOLDER, Run, RunError, as_it_runs, begin_run
from loadtest.summary import report
from loadtest.target import CannotStart, check_target

#: Where Locust's processes talk to each other; never BIND_HOST, for nobody else has business there.
LOOPBACK = "127.0.0.1"

#: Seconds Locust leaves requests that are under way when it is stopped.
STOP_SECONDS = 10

#: Seconds between two lines of progress where there is no terminal.
LINE_SECONDS = 5.0


def check_page(settings: Settings) -> None:
    """Raise CannotStart when Locust's page is asked for and its port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.bind_host, settings.locust_port))
        except OSError:
            raise CannotStart(
                f"port {settings.bind_host}:{settings.locust_port} of Locust's page (LOCUST_PORT) is in use; "
                "`make doctor` names the process that holds it"
            ) from None


def locust(settings: Settings, profile: Profile) -> list[str]:
    """Locust's command line."""
    users = str(profile.users)
    command = [sys.executable, "-m", "locust", "--locustfile", str(ROOT / "loadtest" / "locustfile.py"), "--host", settings.target_url]
    command += ["--users", users, "--spawn-rate", users, "--stop-timeout", str(STOP_SECONDS), "--exit-code-on-error", "0"]
    if settings.ui:
        command += ["--autostart", "--web-host", settings.bind_host, "--web-port", str(settings.locust_port)]
    else:
        command += ["--headless", "--only-summary"]
    if settings.locust_workers > 1:
        # Locust's own default for what its processes say to each other is port 5557 of every address.
        port = str(_free_port())
        command += ["--processes", str(settings.locust_workers), "--master-bind-host", LOOPBACK, "--master-bind-port", port]
        command += ["--master-host", LOOPBACK, "--master-port", port]
    return command


def page_of(settings: Settings, run: Run) -> str | None:
    """Where a browser sees how the load is doing; None where this sandbox has no web page that serves."""
    if not (settings.state_dir / "sandbox.json").exists():
        return None
    page = as_it_runs(settings).page_url
    try:
        check_target(page)
    except CannotStart:
        return None
    return f"{page}runs/{run.id}/live"


def _free_port() -> int:
    """A TCP port that nobody has right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def send(settings: Settings, profile: Profile, run: Run) -> None:
    """Run Locust to its end. Its own output goes to ``locust.log`` in the run's folder."""
    # What Locust reads from the environment (LOCUST_RUN_TIME ...) would change what the manifest says.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    log_path = run.folder / "locust.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            locust(settings, profile),
            cwd=ROOT,
            env=environment | {RUN_FOLDER: str(run.folder), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=None if settings.ui else log,
            stderr=log,
            # Out of reach of Ctrl-C, which would break into a request; on SIGTERM Locust ends in order.
            start_new_session=True,
        )

        def end(_number: int, _frame: FrameType | None) -> None:
            if process.poll() is None:
                process.terminate()

        previous = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if settings.ui:
                print(f"Locust's page: http://{settings.bind_host}:{settings.locust_port}", flush=True)
                process.wait()
            else:
                watch(process, run)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    if process.returncode not in (0, -signal.SIGTERM) and finished(run.folder) == 0:
        tail = [line for line in log_path.read_text(errors="replace").splitlines() if line.strip()][-1:]
        raise CannotStart(f"Locust ended with status {process.returncode} before the first request ({''.join(tail)}); see {log_path}")


def watch(process: subprocess.Popen[bytes], run: Run) -> None:
    """Show how far the load is until Locust ends: a bar on a terminal, a line now and then elsewhere."""
    total, tally = run.manifest.planned, Tally(run.folder)
    console = Console()
    if console.is_terminal:
        columns = (TextColumn("load {task.fields[run]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("load", total=total, run=run.id)
            while not _ended(process, 0.25):
                progress.update(task, completed=tally.finished())
        return
    print(f"load {run.id}: {total:,} requests to {run.manifest.target}", flush=True)
    said = time.monotonic()
    while not _ended(process, 0.25):
        if time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            print(f"load {run.id}: {tally.finished():,} of {total:,}", flush=True)


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def main() -> int:
    settings = load_or_exit()
    profile = chosen(settings)
    try:
        check_target(settings.target_url)
        if settings.ui:
            check_page(settings)
        run = begin_run(settings, profile)
        if page := page_of(settings, run):
            print(f"watch it: {page}", flush=True)
        send(settings, profile, run)
        run = run.complete()
        entries = run.entries()
        print(report(run))
    except (CannotStart, ConfigurationError, LedgerError, RunError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 2
    answered = sum(entry.status is not None for entry in entries)
    return 0 if answered == profile.requests else 1


if __name__ == "__main__":
    sys.exit(main())
