"""What runs: one declaration of every process of the sandbox, for the supervisor, Docker Compose, doctor and the tests.

    for process in processes(load()):
        print(process.name, process.command, [port.number for port in process.ports])

Pure: reads no file and starts nothing. Every process may start in any order and survives the others' absence; ``tier``
only orders the end, so that what an upper tier still flushes finds the lower one there.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Literal

from collector.build import binary_path
from collector.configs import ENVIRONMENT as COLLECTOR_ENVIRONMENT
from collector.configs import command as collector_command
from compose.settings import Backend, Settings, SignalPath

#: Names the sandbox a process belongs to, in its environment: how `down` finds what a killed supervisor left behind.
MARKER = "PARALLAX_STATE_DIR"


class Tier(IntEnum):
    """Stopped from the first to the last: the applications flush into the Collector, that into the vendors."""

    APPLICATION = 1
    COLLECTOR = 2
    DAEMON = 3
    VENDOR = 4


class Ready(StrEnum):
    """How a process is known to serve. None of them reaches instrumented code, so that counted requests stay exact."""

    LISTENS = "listens"  # Its first port takes a TCP connection.
    WSGI = "wsgi"  # Its first port answers services.readiness: gunicorn listens before it has a worker, and only a worker answers.
    HEALTH = "health"  # The Collector's health_check extension answers 200.


@dataclass(frozen=True)
class Port:
    """One number a process listens on. ``setting`` is where it comes from, ``use`` what it is for."""

    setting: str
    number: int
    use: str
    protocols: tuple[Literal["tcp", "udp"], ...] = ("tcp",)


@dataclass(frozen=True)
class Process:
    """One process: its command, ports, and what the supervisor must know of it."""

    name: str
    what: str
    command: tuple[str, ...]
    environment: dict[str, str]
    ports: tuple[Port, ...]
    tier: Tier
    ready: Ready = Ready.LISTENS
    health_port: int = 0


#: Groups of settings (compose.settings) that no long-lived process reads: changing them restarts nothing.
OF_COMMANDS = frozenset({"Load", "Compare", "Replay"})
#: Groups that only a local vendor reads.
_OF_VENDORS = frozenset({"Local X-Ray"})
#: Groups that only the web page reads, which reads those of the commands as well: it starts them.
_OF_WEB_PAGE = frozenset({"Web page"})
#: The group that only the process `collector` reads.
_OF_RECORDING = frozenset({"Recording"})
#: What a local vendor reads besides its own group.
_OF_EVERYONE = frozenset({"mode", "state_dir", "bind_host"})


def setting_names(groups: frozenset[str]) -> frozenset[str]:
    """The fields of these groups of settings."""
    names = set()
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("group") in groups:
            names.add(name)
    return frozenset(names)


def _environment(settings: Settings, names: frozenset[str]) -> dict[str, str]:
    wanted = {name.upper() for name in names}
    return {name: value for name, value in settings.environment().items() if name in wanted}


def _port(settings: Settings, name: str, use: str, protocols: tuple[Literal["tcp", "udp"], ...] = ("tcp",)) -> Port:
    return Port(name.upper(), getattr(settings, name), use, protocols)


def processes(settings: Settings) -> list[Process]:
    """The processes these settings call for, in the order they are shown."""
    application = _environment(
        settings, frozenset(Settings.model_fields) - setting_names(OF_COMMANDS | _OF_VENDORS | _OF_RECORDING | _OF_WEB_PAGE)
    )
    found = [
        Process(
            "cruddur",
            "the application",
            _gunicorn("services.cruddur.app:create_app()"),
            application,
            (_port(settings, "cruddur_port", "HTTP"),),
            Tier.APPLICATION,
            Ready.WSGI,
        ),
        Process(
            "profiles",
            "the service cruddur calls",
            _gunicorn("services.profiles.app:create_app()"),
            application,
            (_port(settings, "profiles_port", "HTTP"),),
            Tier.APPLICATION,
            Ready.WSGI,
        ),
    ]
    if any(path.transport == "otlp" for path in settings.paths):
        found.append(_collector(settings))
    if Backend.XRAY in settings.backends and settings.xray_paths:
        found.append(_xray_daemon(settings))
    if settings.mode == "offline":
        found += _local_cloud(settings)
    found.append(_web_page(settings))
    return found


def _gunicorn(application: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "gunicorn", "-c", "services/gunicorn.conf.py", application)


def _collector_environment(settings: Settings) -> dict[str, str]:
    """What both Collector processes get besides settings. Offline nobody asks EC2 who this machine is, whatever a setting lacks."""
    return {**COLLECTOR_ENVIRONMENT, **({"AWS_EC2_METADATA_DISABLED": "true"} if settings.mode == "offline" else {})}


def _queue(settings: Settings, process: str) -> str:
    """A Collector's queue, one for each mode: what an offline run left waiting must never go to the real vendors."""
    return str(settings.state_dir / "queues" / settings.mode / process)


def recording_dir(settings: Settings) -> Path:
    """Where the process `collector` records what it accepts; one for each mode, like its queue."""
    return settings.state_dir / "recorded" / settings.mode


def _collector(settings: Settings) -> Process:
    ports = [
        _port(settings, "otlp_grpc_port", "OTLP over gRPC"),
        _port(settings, "otlp_http_port", "OTLP over HTTP"),
        _port(settings, "collector_health_port", "health check"),
        _port(settings, "collector_metrics_port", "its own metrics"),
    ]
    if SignalPath.XRAY_OTLP in settings.paths:
        ports.append(_port(settings, "collector_hop_xray_port", "hop before awsxray"))
    if SignalPath.CLOUDWATCH_OTLP in settings.paths:
        ports.append(_port(settings, "collector_hop_emf_port", "hop before awsemf"))
    names = _OF_EVERYONE | setting_names(frozenset({"Collector", "Honeycomb", "AWS"}))
    environment = _collector_environment(settings) | {"COLLECTOR_QUEUE_DIR": _queue(settings, "collector")}
    if settings.record:
        ports.append(_port(settings, "collector_hop_recording_port", "hop before the recording"))
        names |= {"record_files", "collector_hop_recording_port"}
        environment["COLLECTOR_RECORDING_DIR"] = str(recording_dir(settings))
    command = collector_command("collector", settings.backends, binary_path(), settings.paths, settings.record)
    environment |= _environment(settings, names)
    return Process(
        "collector",
        "OpenTelemetry Collector",
        tuple(command),
        environment,
        tuple(ports),
        Tier.COLLECTOR,
        Ready.HEALTH,
        settings.collector_health_port,
    )


def _xray_daemon(settings: Settings) -> Process:
    ports = (
        _port(settings, "xray_daemon_port", "segments (UDP), API (TCP)", ("tcp", "udp")),
        _port(settings, "xray_daemon_health_port", "health check"),
        _port(settings, "xray_daemon_metrics_port", "its own metrics"),
        _port(settings, "xray_daemon_hop_port", "hop before awsxray"),
    )
    names = _OF_EVERYONE | setting_names(frozenset({"Collector", "AWS"}))
    environment = (
        _environment(settings, names) | _collector_environment(settings) | {"XRAY_DAEMON_QUEUE_DIR": _queue(settings, "xray-daemon")}
    )
    command = collector_command("xray-daemon", settings.backends, binary_path(), settings.paths)
    return Process(
        "xray-daemon",
        "the X-Ray daemon's role",
        tuple(command),
        environment,
        ports,
        Tier.DAEMON,
        Ready.HEALTH,
        settings.xray_daemon_health_port,
    )


def _local_cloud(settings: Settings) -> list[Process]:
    """The local vendors of the backends that are on."""
    found = []
    if {path.backend for path in settings.paths} & {Backend.XRAY, Backend.CLOUDWATCH}:
        found.append(_vendor(settings, "aws", {"AWS", "Local X-Ray"}, "local AWS", (_port(settings, "aws_port", "API"),)))
    if Backend.HONEYCOMB in settings.backends:
        ports = (_port(settings, "honeycomb_port", "API and OTLP over HTTP"), _port(settings, "honeycomb_grpc_port", "OTLP over gRPC"))
        found.append(_vendor(settings, "honeycomb", {"Honeycomb"}, "local Honeycomb", ports))
    if Backend.ROLLBAR in settings.backends:
        found.append(_vendor(settings, "rollbar", {"Rollbar"}, "local Rollbar", (_port(settings, "rollbar_port", "API"),)))
    return found


#: Groups that the web page reads.
_FOR_THE_PAGE = frozenset({"What runs", "Honeycomb", "AWS", "Rollbar", "Compare", "Web page"})
#: Keys that send: the page only reads.
_NOT_FOR_THE_PAGE = frozenset({"honeycomb_api_key", "rollbar_access_token"})


def _web_page(settings: Settings) -> Process:
    # It reads every backend, so it gets their endpoints and reading keys. How the others run is none of its business, and what only
    # chooses the next load or run would restart it for nothing; what a run was made with stands in the run's manifest.
    names = _OF_EVERYONE | setting_names(_FOR_THE_PAGE) - {"run", "format"} - _NOT_FOR_THE_PAGE | {"target_url", "locust_port"}
    return Process(
        "compare",
        "the web page",
        (sys.executable, "-m", "services.compare.web"),
        _environment(settings, names),
        (_port(settings, "compare_port", "HTTP"),),
        Tier.APPLICATION,
    )


def _vendor(settings: Settings, name: str, groups: set[str], what: str, ports: tuple[Port, ...]) -> Process:
    environment = _environment(settings, _OF_EVERYONE | setting_names(frozenset(groups)))
    return Process(name, what, (sys.executable, "-m", f"localstack.{name}"), environment, ports, Tier.VENDOR)
