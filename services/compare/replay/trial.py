"""The Collector under test: a process of its own, with its own ports and queues, that is started for one replay and ended after it.

    with Trial(binary, files, environment, folder) as trial:    # validated, started, listening
        ...                                                     # send to trial.target
        counts = trial.settle()                                 # until it holds nothing any more
    # ended by SIGTERM, whatever happened

``check`` asks the binary itself whether the files are a configuration. Whatever they say, the receiver ``otlp`` listens where the replay
sends and the Collector's own metrics are where the replay reads them: both are given last, and the last configuration wins.

What became of the data is read from the Collector's own metrics ("Internal telemetry", OpenTelemetry documentation).
"""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

HOST: Final = "127.0.0.1"

#: Settings that are ports of the process `collector`; a trial gets free ones.
PORTS: Final = (
    *("OTLP_GRPC_PORT", "OTLP_HTTP_PORT", "COLLECTOR_HEALTH_PORT", "COLLECTOR_METRICS_PORT"),
    *("COLLECTOR_HOP_XRAY_PORT", "COLLECTOR_HOP_EMF_PORT", "COLLECTOR_HOP_RECORDING_PORT"),
)

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0
#: The same when the replay itself was ended or failed.
INTERRUPTED_SECONDS: Final = 5.0
#: Nothing has changed for so long and nothing waits: it is done. Longer than any batch of our configurations is held.
QUIET_SECONDS: Final = 1.0
#: Something waits and nothing has changed for so long: it will not get better. tail_sampling decides after 30 s by default.
STALLED_SECONDS: Final = 45.0

_SAMPLE = re.compile(r"(otelcol_\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SENT = re.compile(r"otelcol_exporter_(sent|send_failed|enqueue_failed)_(spans|log_records|metric_points)")
#: A trace that tail_sampling took in ends as one of these.
_DECIDED: Final = (
    "otelcol_processor_tail_sampling_global_count_traces_sampled",
    "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early",
)
#: How metrics name a signal, and how the items of it are called.
_ITEMS: Final = {"traces": "spans", "logs": "log_records", "metrics": "metric_points"}


class TrialError(Exception):
    """The Collector cannot be had with this configuration. The message says why, in its own words where it has some."""


@dataclass(frozen=True)
class Export:
    """What one exporter did with the items (spans, log_records, metric_points) of one signal."""

    exporter: str
    items: str
    sent: int = 0
    failed: int = 0
    #: Refused by its own queue, which was full.
    not_queued: int = 0
    #: Still in its queue.
    waiting: int = 0

    @property
    def lost(self) -> int:
        """Items that did not leave."""
        return self.failed + self.not_queued + self.waiting


@dataclass(frozen=True)
class Processing:
    """What one processor took and let through. Pipelines that share its name are counted together."""

    processor: str
    items: str
    incoming: int
    outgoing: int


@dataclass
class Counts:
    """The Collector's own account at one moment."""

    exports: list[Export] = field(default_factory=list)
    processing: list[Processing] = field(default_factory=list)
    #: Traces that tail_sampling has not decided about.
    undecided: int = 0

    @property
    def waiting(self) -> int:
        """Items in queues, and traces that wait for a decision."""
        return sum(each.waiting for each in self.exports) + self.undecided


def check(binary: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raise TrialError with the Collector's own words when these are no valid configuration. Starts nothing."""
    try:
        done = subprocess.run(
            [str(binary), "validate", *arguments],
            env=dict(environment),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TrialError("the Collector has not said within 60 s whether the configuration is valid") from None
    if done.returncode != 0:
        raise TrialError(done.stderr.strip() or f"`otelcol validate` ended with exit status {done.returncode}")


class Trial:
    """One Collector process. ``files``: its configuration, in order. ``environment``: what they read, without ports and queues.

    ``folder``: an existing folder for its queues and its log, ``collector.log``. Raises TrialError; OSError where the folder cannot be
    written.
    """

    def __init__(self, binary: Path, files: Sequence[Path], environment: Mapping[str, str], folder: Path) -> None:
        self._binary = binary
        self._ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        self._environment = {
            **environment,
            **{name: str(port) for name, port in self._ports.items()},
            "BIND_HOST": HOST,
            "COLLECTOR_QUEUE_DIR": str(folder / "queue"),
        }
        self._arguments = [*(f"--config={file}" for file in files), *self._overrides()]
        self.log = folder / "collector.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """Where it takes OTLP over gRPC."""
        return f"{HOST}:{self._ports['OTLP_GRPC_PORT']}"

    def __enter__(self) -> Trial:
        check(self._binary, self._arguments, self._environment)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(self._binary), *self._arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C in the terminal is for the replay, which ends this in order.
                start_new_session=True,
            )
        try:
            self._wait_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        # What an interrupted replay had still waiting is given up with it.
        self._stop(STOP_SECONDS if error is None else INTERRUPTED_SECONDS)

    def require_alive(self) -> None:
        """Raise TrialError when it has ended by itself."""
        assert self._process is not None
        if (status := self._process.poll()) is not None:
            raise TrialError(f"the Collector has ended (exit status {status}): {self._last_words()}")

    def counts(self) -> Counts:
        """Its own account right now. Raises TrialError when it does not answer."""
        self.require_alive()
        try:
            return parse(self._scrape())
        except (OSError, http.client.HTTPException) as error:
            raise TrialError(f"the Collector's own metrics do not answer ({error}): {self._last_words()}") from None

    def settle(self, changed: Callable[[Counts], None] = lambda _: None) -> Counts:
        """Wait until it holds nothing any more, or until that does not get less; the account as it then is."""
        last, since = self.counts(), time.monotonic()
        while True:
            patience = STALLED_SECONDS if last.waiting else QUIET_SECONDS
            if time.monotonic() - since > patience:
                return last
            time.sleep(0.1)
            counts = self.counts()
            if counts != last:
                last, since = counts, time.monotonic()
                changed(counts)

    def _overrides(self) -> Iterator[str]:
        otlp = "yaml:receivers::otlp::protocols"
        yield f"--config={otlp}::grpc::endpoint: {self.target}"
        yield f"--config={otlp}::http::endpoint: {HOST}:{self._ports['OTLP_HTTP_PORT']}"
        reader = f"{{pull: {{exporter: {{prometheus: {{host: {HOST}, port: {self._ports['COLLECTOR_METRICS_PORT']}}}}}}}}}"
        yield f"--config=yaml:service::telemetry::metrics: {{level: normal, readers: [{reader}]}}"

    def _wait_ready(self) -> None:
        """Receivers start last, so who takes a connection is ready."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.require_alive()
            try:
                socket.create_connection((HOST, self._ports["OTLP_GRPC_PORT"]), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise TrialError(
                        f"the Collector does not listen after {START_SECONDS:g} s; does a pipeline have the receiver `otlp`? "
                        f"It said last: {self._last_words()}"
                    ) from None
            time.sleep(0.05)

    def _scrape(self) -> str:
        connection = http.client.HTTPConnection(HOST, self._ports["COLLECTOR_METRICS_PORT"], timeout=10)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode(errors="replace")
        finally:
            connection.close()

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace")[-8192:].splitlines() if line.strip()]
        return lines[-1] if lines else "it says nothing"

    def _stop(self, seconds: float = STOP_SECONDS) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def parse(text: str) -> Counts:
    """The account in a Collector's own metrics, Prometheus's text format."""
    exports: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    processing: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    counts = Counts()
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is None:
            continue
        name, labels, value = found[1].removesuffix("_total"), dict(_LABEL.findall(found[2] or "")), int(float(found[3]))
        if sent := _SENT.fullmatch(name):
            exports[labels["exporter"], str(sent[2])][str(sent[1])] += value
        elif name == "otelcol_exporter_queue_size":
            exports[labels["exporter"], _items(labels["data_type"])]["waiting"] += value
        elif name in ("otelcol_processor_incoming_items", "otelcol_processor_outgoing_items"):
            processing[labels["processor"], _items(labels["otel_signal"])]["in" if "incoming" in name else "out"] += value
        elif name == "otelcol_processor_tail_sampling_new_trace_id_received":
            counts.undecided += value
        elif name in _DECIDED:
            counts.undecided -= value
    counts.undecided = max(0, counts.undecided)
    counts.exports = [
        Export(exporter, items, each["sent"], each["send_failed"], each["enqueue_failed"], each["waiting"])
        for (exporter, items), each in sorted(exports.items())
    ]
    counts.processing = [Processing(name, items, each["in"], each["out"]) for (name, items), each in sorted(processing.items())]
    return counts


def _items(signal: str) -> str:
    return _ITEMS.get(signal, signal)


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that are free right now; all of them differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
