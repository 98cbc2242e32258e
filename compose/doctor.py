"""``make doctor``: what could keep the sandbox from running, each with the next command to type."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from collector import build
from compose import bootstrap, init, keys, leftovers, ports
from compose.processes import Process, processes
from compose.sandbox import files_of
from compose.settings import ROOT, ConfigurationError, Settings
from compose.supervision import Client, SupervisorError

#: Free bytes below which a run may not fit: queues, databases and logs of a soak.
_DISK = 2_000_000_000


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was found, and what to do when it is not well."""

    what: str
    found: str
    next: str = ""

    @property
    def well(self) -> bool:
        return not self.next


def _python(_: Settings) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("Python", f"{version} ({sys.executable})")
    ready = next((name for name in ("dev", "runtime") if bootstrap.is_ready(name, chosen=False)), None)
    if ready:
        yield Finding("packages", f"as requirements/{ready}.lock says")
    else:
        yield Finding("packages", "not as requirements/runtime.lock says", "make setup")


def _settings(settings: Settings) -> Iterator[Finding]:
    backends = ", ".join(sorted(settings.backends)) or "none"
    try:
        keys.check(settings)
    except ConfigurationError as error:
        yield Finding("settings", str(error), "edit .env (docs/settings.md says how)")
    else:
        yield Finding("settings", f"{settings.mode}, backends {backends}")


def _collector(settings: Settings) -> Iterator[Finding]:
    if not {"collector", "xray-daemon"} & {process.name for process in processes(settings)}:
        yield Finding("Collector", "not needed for these backends")
        return
    if build.is_built():
        yield Finding("Collector", "built")
        return
    required = build.required_go((build.SOURCES / "go.mod").read_text())
    go = build.choose_go(required, [build.installed_go()])
    with_what = f"Go {'.'.join(map(str, go.version))}" if go else "the Go toolchain of collector/go-toolchain.lock, fetched first"
    yield Finding("Collector", f"not built yet; make up does it once, with {with_what}")


def _supervisor(settings: Settings) -> Iterator[Finding]:
    files = files_of(settings)
    client = Client(files.socket)
    try:
        states = client.states().values()
    except SupervisorError:
        left = leftovers.find(files.state_dir)
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            yield Finding("sandbox", f"processes of a killed supervisor are left: {pids}", "make down")
        else:
            yield Finding("sandbox", "not up")
    else:
        missing = [state.name for state in states if not state.pid]
        if missing:
            yield Finding("sandbox", f"up, but not running: {', '.join(missing)}", f"make logs NAME={missing[0]}, then: make up")
        else:
            yield Finding("sandbox", f"up, {len(states)} processes")


def _ports(settings: Settings) -> Iterator[Finding]:
    wanted = processes(settings)
    if clashes := ports.clashes(wanted):
        yield from (Finding("ports", clash, "edit .env, then: make doctor") for clash in clashes)
        return
    if unusable := ports.unusable(settings.bind_host):
        yield Finding("ports", unusable, "edit .env, then: make doctor")
        return
    ours = frozenset(process.pid for process in leftovers.find(files_of(settings).state_dir))
    busy = ports.busy(wanted, settings.bind_host, ours)
    for one in busy:
        yield Finding("ports", str(one), "make doctor again")
    if not busy:
        yield Finding("ports", f"{_count(wanted)} ports are free or ours")


def _count(wanted: list[Process]) -> int:
    return sum(len(process.ports) for process in wanted)


def _xray(settings: Settings) -> Iterator[Finding]:
    if not init.wanted(settings):
        return
    try:
        name = init.read_rule(ROOT / init.RULE_FILE)["SamplingRule"]["RuleName"]
    except init.InitError as error:
        yield Finding("X-Ray", str(error), f"git restore {init.RULE_FILE}, then: make init")
    else:
        yield Finding("X-Ray", f"sampling rule {name} can be made of {init.RULE_FILE}")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = next(path for path in (settings.state_dir, *settings.state_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free below {folder}"
    yield (
        Finding("disk", text)
        if free >= _DISK
        else Finding("disk", f"{text}, {_DISK / 1e9:.0f} GB wanted", "make room, or set another STATE_DIR")
    )


def _state(settings: Settings) -> Iterator[Finding]:
    """The files a run leaves: each must be what it claims, or the process that owns it will refuse to start."""
    if settings.state_dir.exists() and not settings.state_dir.is_dir():
        yield Finding("state", f"STATE_DIR {settings.state_dir} is no folder", "set another STATE_DIR")
        return
    wrong = list(_wrong_files(settings.state_dir))
    for path, problem in wrong:
        yield Finding("state", f"{path}: {problem}", f"move it away (mv {path} {path}.away), or: make clean")
    if not wrong:
        yield Finding("state", f"files below {settings.state_dir} are in order" if settings.state_dir.exists() else "none yet")


def _wrong_files(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted((folder / "data").glob("*.duckdb")):
        with path.open("rb") as file:
            # DuckDB's main header: 8 bytes of checksum, then the magic ("Storage versions and format", DuckDB documentation).
            if file.read(12)[8:] != b"DUCK":
                yield path, "is not a DuckDB file"
    for path in sorted((folder / "data").glob("*.sqlite")):
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
                database.execute("SELECT count(*) FROM sqlite_master")
            database.close()
        except sqlite3.DatabaseError as error:
            yield path, f"SQLite: {error}"
    for path in [folder / "sandbox.json", *sorted((folder / "runs").glob("*/manifest.json"))]:
        try:
            json.loads(path.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            yield path, f"cannot be read: {error}"


_CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (_python, _settings, _collector, _supervisor, _ports, _xray, _disk, _state)


def findings(settings: Settings) -> list[Finding]:
    """Every check, also when an earlier one has failed."""
    return [finding for check in _CHECKS for finding in check(settings)]


def show(settings: Settings) -> int:
    """Print the findings; 0 when nothing keeps the sandbox from running."""
    found = findings(settings)
    width = max(len(finding.what) for finding in found)
    for finding in found:
        print(f"{'ok  ' if finding.well else 'FAIL'}  {finding.what:<{width}}  {finding.found}")
        if finding.next:
            print(f"      {'':<{width}}  next: {finding.next}")
    return 0 if all(finding.well for finding in found) else 1
