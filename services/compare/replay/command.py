"""One replay, from a run's recording to a run that can be compared."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from collector.build import ensure_built
from collector.configs import CONFIG_DIR, config_files
from compose import ports
from compose.processes import MARKER, processes, recording_dir
from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry, LedgerWriter
from loadtest.runs import MANIFEST, Manifest, Run, as_it_runs, load_run, make_run, new_run_id, newest_run, runs
from services.compare import drafts
from services.compare.paths import SAMPLED_KINDS
from services.compare.replay.outcome import Outcome
from services.compare.replay.progress import Progress
from services.compare.replay.recorded import SIGNALS, RecordedFile, Signal, files
from services.compare.replay.rewrite import Rewriting, Seen, Selection
from services.compare.replay.send import Sender
from services.compare.replay.trial import HOST, Trial
from services.cruddur.signals import Outcome as Asked
from services.cruddur.signals import Route, expected

#: What a replay keeps beside manifest and ledger: its outcome, and what the Collector under test said.
OUTCOME = "replay.json"
LOG = "collector.log"
#: What the folder of the Collector under test is called below ``<STATE_DIR>/replays``, with an ending.
DRAFT = "replay-"

#: The application holds a batch back for so long when all is well (metrics, every two seconds, are the slowest). Seconds.
HELD_BACK = 6.0
#: It tries a batch for ten minutes (services.telemetry.delivery.PATIENCE), and metrics cover an interval. Seconds.
_LATE = 15 * 60.0

_DATA: dict[Signal, Any] = {"traces": TracesData, "logs": LogsData, "metrics": MetricsData}

Say = Callable[[str], None]


class ReplayError(Exception):
    """A replay that cannot be made. The message names why and the next command."""


@dataclass(frozen=True)
class Recording:
    """What is recorded of one run."""

    files: dict[Signal, list[RecordedFile]]
    seen: dict[str, Seen]
    damaged: int

    @property
    def trace_ids(self) -> set[str]:
        return set().union(*(seen.trace_ids for seen in self.seen.values()))

    @property
    def latest(self) -> float:
        """Epoch seconds of the latest item."""
        return max(seen.latest for seen in self.seen.values()) / 1e9


def replay(settings: Settings, run_id: str, say: Say) -> Outcome:
    """Send the telemetry of a run again as a new run.

    Raises ReplayError, RunError, LedgerError, RecordingError, TrialError, BuildError, ConfigurationError. Whatever is raised, no new run
    is left behind.
    """
    began = time.monotonic()
    run = load_run(settings, run_id) if run_id else _newest(settings)
    sandbox = as_it_runs(settings)
    paths = _paths(run, settings, sandbox)
    own = _own_files(settings)
    entries = run.entries()
    if not entries:
        raise ReplayError(f"run {run.id} has no finished request; choose another: `make replay RUN=<id>`")
    _wait_for_the_application(run, say)
    ours = Selection(run.id, frozenset(entry.trace_id for entry in entries))
    with ExitStack() as stack:
        recording = _look(stack, settings, run, ours)
        kept = _recorded(entries, recording.trace_ids, paths)
        configuration = [*([] if settings.config_only else config_files("collector", {path.backend for path in paths}, paths)), *own]
        if not settings.config_only:
            _require_backends(sandbox, paths)
        replays = settings.state_dir / "replays"
        replays.mkdir(exist_ok=True)
        drafts.clear(replays, DRAFT)
        folder = stack.enter_context(drafts.folder(replays, DRAFT))
        trial = stack.enter_context(Trial(ensure_built(), configuration, _environment(settings, sandbox), folder))
        change = _change(ours, entries, recording)
        new = stack.enter_context(_new_run(settings, run, change, kept, paths))
        say(f"{run.id} becomes {new.id}; sending at most {settings.replay_rate:,} items a second")
        with Sender(trial.target, settings.replay_rate, trial.require_alive) as sender:
            progress = Progress(new.folder, {signal: recording.seen[signal].kept for signal in SIGNALS})
            _send(recording, change, sender, progress)
        say("sent; waiting until the Collector holds nothing any more")
        counts = trial.settle(lambda now: progress.say(waiting=now.waiting))
        progress.done()
        new.complete()
        outcome = Outcome(
            run=new.id,
            replay_of=run.id,
            requests=len(kept),
            paths=paths,
            configuration=[_shown(file) for file in configuration],
            recorded=recording.seen,
            left_out=len(entries) - len(kept),
            damaged=recording.damaged,
            sent={str(signal): items for signal, items in sender.sent.items()},
            refused={str(signal): items for signal, items in sender.refused.items()},
            reasons=dict(sender.reasons),
            retries=sender.retries,
            counts=counts,
            seconds=time.monotonic() - began,
        )
        (new.folder / OUTCOME).write_text(json.dumps(outcome.document(), indent=1) + "\n")
        with contextlib.suppress(OSError):
            shutil.copyfile(trial.log, new.folder / LOG)
    return outcome


# --- What is asked for ---------------------------------------------------------------------------------------------


def _newest(settings: Settings) -> Run:
    """The newest run that was made here and is no replay, so that one configuration after the other can be tried. Raises RunError when
    there is none."""
    for known in reversed(runs(settings)):
        run = load_run(settings, known)
        if run.manifest.replay_of is None and not run.imported:
            return run
    return newest_run(settings)


def _paths(run: Run, settings: Settings, sandbox: Settings) -> list[SignalPath]:
    """The paths through the process `collector` that were on in the run and are on now, in the sandbox and for this command."""
    manifest = run.manifest
    if manifest.replay_of is not None:
        raise ReplayError(f"run {run.id} is itself a replay; replay what it was made of: `make replay RUN={manifest.replay_of}`")
    if manifest.mode != settings.mode:
        raise ReplayError(
            f"run {run.id} was made {manifest.mode}, but MODE is {settings.mode}; `make replay RUN={run.id} MODE={manifest.mode}`"
        )
    were_on = [path for path in manifest.paths if path.transport == "otlp"]
    if not were_on:
        raise ReplayError(
            f"run {run.id} used no path through the Collector, so there is nothing to send through one; "
            "`make up` with xray/otlp, cloudwatch/otlp or honeycomb on, then `make load`"
        )
    paths = sorted(path for path in were_on if path in settings.paths and path in sandbox.paths)
    if not paths:
        raise ReplayError(
            f"of the paths of run {run.id} through the Collector ({', '.join(were_on)}) none is on now; "
            "`make up` with them (BACKENDS, XRAY_PATHS, CLOUDWATCH_PATHS), then `make replay` again"
        )
    return paths


def _own_files(settings: Settings) -> list[Path]:
    """The files of CONFIG."""
    try:
        own = [Path(word).expanduser().resolve() for word in shlex.split(settings.config)]
    except ValueError as error:
        raise ReplayError(f"CONFIG={settings.config!r} cannot be read ({error}); quote a name as in a shell") from None
    for file in own:
        if not file.is_file():
            raise ReplayError(f'CONFIG names {file}, which is no file; `make replay CONFIG="a.yaml b.yaml"`')
    if settings.config_only and not own:
        raise ReplayError("CONFIG_ONLY says that the files of CONFIG are the whole configuration, and CONFIG is empty; name them")
    return own


def _wait_for_the_application(run: Run, say: Say) -> None:
    """Until what the application holds back of a run that has just ended is recorded."""
    if run.manifest.finished is None or run.manifest.ended is None:
        raise ReplayError(
            f"run {run.id} has not ended, or was killed, so its ledger may lack requests; choose another: `make replay RUN=<id>`"
        )
    wait = run.manifest.ended + HELD_BACK - time.time()
    if 0 < wait <= HELD_BACK:
        say(f"run {run.id} has just ended; waiting {wait:.0f} s for what the application still holds")
        time.sleep(wait)


def _require_backends(sandbox: Settings, paths: list[SignalPath]) -> None:
    """Offline, raise ReplayError when who should receive does not listen: everything would wait in the Collector's queues."""
    if sandbox.mode != "offline":
        return
    host = ports.reach(sandbox.bind_host)
    addresses = {
        SignalPath.HONEYCOMB_OTLP: _address(sandbox.honeycomb_endpoint),
        SignalPath.XRAY_OTLP: (host, sandbox.xray_daemon_port),
        SignalPath.CLOUDWATCH_OTLP: _address(sandbox.logs_endpoint),
    }
    for path in paths:
        try:
            socket.create_connection(addresses[path], timeout=2).close()
        except OSError as error:
            where = f"{addresses[path][0]}:{addresses[path][1]}"
            raise ReplayError(
                f"nobody takes what goes to {path}: {where} does not answer ({error}); `make up`, then `make replay`"
            ) from None


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or HOST, parts.port or (443 if parts.scheme == "https" else 80)


def _environment(settings: Settings, sandbox: Settings) -> dict[str, str]:
    """What the process `collector` of the sandbox is given, without a recording; and the marker by which `make down` finds it."""
    plain = Settings.model_validate(sandbox.model_dump() | {"record": False})
    (process,) = (each for each in processes(plain) if each.name == "collector")
    ours = {name.upper() for name in Settings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    # Its own host is loopback, whatever the sandbox's is; the daemon's role stays where it is.
    return inherited | process.environment | {"XRAY_DAEMON_HOST": ports.reach(sandbox.bind_host), MARKER: str(settings.state_dir)}


def _shown(file: Path) -> str:
    """A file as a person would name it from here."""
    if file.parent == CONFIG_DIR:
        return file.name
    with contextlib.suppress(ValueError):
        return str(file.relative_to(Path.cwd()))
    return str(file)


# --- What is recorded ----------------------------------------------------------------------------------------------


def _look(stack: ExitStack, settings: Settings, run: Run, ours: Selection) -> Recording:
    """Read the recording once. Raises ReplayError when nothing of the run is in it."""
    folder = recording_dir(settings)
    manifest = run.manifest
    begin, end = manifest.started - 60, (manifest.ended or time.time()) + _LATE
    found: dict[Signal, list[RecordedFile]] = {}
    seen: dict[str, Seen] = {}
    damaged = 0
    for signal in SIGNALS:
        found[signal] = files(folder, signal, begin, end)
        for file in found[signal]:
            stack.callback(file.close)
        seen[signal] = Seen()
        for file in found[signal]:
            for message in file.messages():
                data = _parse(signal, message)
                if data is None:
                    damaged += len(message)
                else:
                    seen[signal].add(_apply(ours, signal, data))
            damaged += file.damaged
    if not any(each.kept for each in seen.values()):
        raise ReplayError(
            f"nothing of run {run.id} is recorded below {folder}: RECORD was off when it was made, or RECORD_FILES newer files have "
            "pushed it out; `make load` makes a run that is recorded, then `make replay`"
        )
    return Recording(found, seen, damaged)


def _recorded(entries: list[LedgerEntry], trace_ids: set[str], paths: list[SignalPath]) -> list[LedgerEntry]:
    """The requests a replay can be held against: something is recorded of them, or nothing need be."""
    return [entry for entry in entries if entry.trace_id in trace_ids or not _shows(entry, paths)]


def _shows(entry: LedgerEntry, paths: list[SignalPath]) -> bool:
    """Whether the request must show anything on these paths."""
    signals = expected(Route(entry.route), Asked(entry.outcome), entry.status)
    return any(signal.path in paths and (signal.kind not in SAMPLED_KINDS or entry.sampled_otel) for signal in signals)


def _parse(signal: Signal, message: bytes) -> Any:
    """The message as OTLP; None where it is none."""
    try:
        return _DATA[signal].FromString(message)
    except DecodeError:
        return None


def _apply(to: Selection | Rewriting, signal: Signal, data: Any) -> Seen:
    by_signal: dict[Signal, Callable[[Any], Seen]] = {"traces": to.traces, "logs": to.logs, "metrics": to.metrics}
    return by_signal[signal](data)


# --- The new run ---------------------------------------------------------------------------------------------------


def _change(ours: Selection, entries: list[LedgerEntry], recording: Recording) -> Rewriting:
    """Into a new run whose last moment is now: nothing lies in the future, which CloudWatch and X-Ray refuse."""
    last = max(recording.latest, *(entry.start + entry.duration_ms / 1000 for entry in entries))
    # Whole seconds, so that a trace id's time and the trace's own move by the same.
    return Rewriting(ours, new_run_id(), max(0, int(time.time() - last)))


@contextmanager
def _new_run(settings: Settings, old: Run, change: Rewriting, entries: list[LedgerEntry], paths: list[SignalPath]) -> Iterator[Run]:
    """The new run with its whole ledger; taken back when what follows fails."""
    manifest: Manifest = old.manifest.model_copy(
        update={
            "run": change.new,
            "replay_of": old.id,
            "started": old.manifest.started + change.shift,
            "ended": None,
            "finished": None,
            "paths": paths,
        }
    )
    run = make_run(settings, manifest)
    try:
        with LedgerWriter(run.folder, 0) as ledger:
            for entry in entries:
                ledger.write(replace(entry, run=run.id, trace_id=change.trace_id(entry.trace_id), start=entry.start + change.shift))
        yield run
    except BaseException:
        # At once no run any more, so that nobody takes one that is half removed for one that was killed.
        (run.folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(run.folder, ignore_errors=True)
        raise


def _send(recording: Recording, change: Rewriting, sender: Sender, progress: Progress) -> None:
    """Every message of the run, rewritten, request by request as the application sent them."""
    for signal in SIGNALS:
        for file in recording.files[signal]:
            for message in file.messages():
                data = _parse(signal, message)
                if data is not None and (seen := _apply(change, signal, data)).kept:
                    sender.send(signal, data.SerializeToString(), seen.kept)
                    progress.say(sent=sender.sent + sender.refused)
