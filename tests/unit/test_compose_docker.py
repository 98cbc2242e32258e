"""The Docker Compose files: valid, and the same services, ports and settings as the supervised sandbox.

The files are merged and interpolated here by the rules of the Compose specification they use ("Merge", "Interpolation");
where Docker Compose is installed it can be asked for the same with ``docker compose … config``.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from collector.configs import ENVIRONMENT as COLLECTOR_ENVIRONMENT
from collector.configs import config_files
from compose.processes import Process, processes
from compose.settings import ROOT, Settings, load

pytestmark = pytest.mark.usefixtures("default_settings")

DOCKER = ROOT / "compose" / "docker"
SPECIFICATION = Path(__file__).parent / "compose_spec"
KEYS = dict.fromkeys(("HONEYCOMB_API_KEY", "ROLLBAR_ACCESS_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "key")
MODES = {"offline": {}, "online": KEYS}
#: Services of Docker Compose that are no process of ours: not our program, and one that ends.
BESIDE = {"postgres", "init"}
#: Settings that say where a process listens and keeps its state. Inside a container both are fixed.
FIXED = {"STATE_DIR", "MODE"}


class Missing(Exception):
    """``${NAME:?message}`` and no value."""


def interpolate(text: str, environment: dict[str, str]) -> str:
    """``${NAME}``, ``${NAME:-default}``, ``${NAME:?message}``; an empty value counts as none where there is a colon."""

    def value(found: re.Match[str]) -> str:
        name, operator, rest = found[1], found[2], found[3] or ""
        known = environment.get(name, "")
        if operator == ":?" and not known:
            raise Missing(f"{name}: {rest}")
        return known or (rest if operator == ":-" else "")

    return re.sub(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}", value, text)


def walk(tree: Any, environment: dict[str, str]) -> Any:
    if isinstance(tree, dict):
        return {key: walk(value, environment) for key, value in tree.items()}
    if isinstance(tree, list):
        return [walk(value, environment) for value in tree]
    return interpolate(tree, environment) if isinstance(tree, str) else tree


def merge(first: Any, second: Any) -> Any:
    """Mappings merge, commands are replaced, other lists are joined."""
    if isinstance(first, dict) and isinstance(second, dict):
        merged = dict(first)
        for key, value in second.items():
            merged[key] = merge(first[key], value) if key in first and key != "command" else value
        return merged
    return first + second if isinstance(first, list) and isinstance(second, list) else second


def composed(mode: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """base.yaml and the mode's file as Docker Compose puts them together."""
    base, over = (yaml.safe_load((DOCKER / f"{name}.yaml").read_text()) for name in ("base", mode))
    merged: dict[str, Any] = walk(merge(base, over), {**MODES[mode], **(environment or {})})
    return merged


def supervised(mode: str, **settings: Any) -> dict[str, Process]:
    # Containers do not record: the files would be root's, and what sends them again runs outside.
    return {process.name: process for process in processes(load(mode=mode, record=False, **settings))}


@pytest.fixture(params=sorted(MODES))
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_schema_is_the_specifications_own() -> None:
    schema = (SPECIFICATION / "compose-spec.json").read_bytes()
    assert hashlib.sha256(schema).hexdigest() in (SPECIFICATION / "README.md").read_text()


def test_files_are_valid_alone_and_together(mode: str) -> None:
    validator = jsonschema.Draft202012Validator(json.loads((SPECIFICATION / "compose-spec.json").read_text()))
    for tree in (yaml.safe_load((DOCKER / "base.yaml").read_text()), yaml.safe_load((DOCKER / f"{mode}.yaml").read_text()), composed(mode)):
        validator.validate(tree)


def test_each_file_says_when_it_is_loaded() -> None:
    for path in DOCKER.glob("*.yaml"):
        assert path.read_text().startswith("# Loaded "), path.name


def test_the_services_are_the_processes(mode: str) -> None:
    assert set(composed(mode)["services"]) - BESIDE == set(supervised(mode))


def test_services_publish_the_ports_of_the_processes_on_loopback_only(mode: str) -> None:
    for name, process in supervised(mode).items():
        published = set()
        for entry in composed(mode)["services"][name]["ports"]:
            host, port, rest = entry.split(":")
            assert host == "127.0.0.1", entry
            published.add((int(port), rest.partition("/")[2] or "tcp"))
        declared = {(port.number, protocol) for port in process.ports if not port.use.startswith("hop ") for protocol in port.protocols}
        if name == "xray-daemon":
            # The daemon itself has neither the Collector's health check nor its metrics.
            declared = {(2000, "tcp"), (2000, "udp")}
        assert published == declared, name


def test_moving_a_port_moves_it_in_the_service_too() -> None:
    moved = composed("offline", {"HONEYCOMB_PORT": "5570", "CRUDDUR_PORT": "5567"})["services"]
    assert moved["cruddur"]["ports"] == ["127.0.0.1:5567:5567"]
    assert "127.0.0.1:5570:5570" in moved["honeycomb"]["ports"]
    assert moved["cruddur"]["environment"]["HONEYCOMB_ENDPOINT"] == "http://honeycomb:5570"


def test_a_service_gets_every_setting_its_process_reads(mode: str) -> None:
    """By name, so that BACKENDS= or LOG_GROUP= means the same with Docker and without."""
    everything = dict.fromkeys(("honeycomb_query_key", "rollbar_read_token", "aws_session_token", "honeycomb_api_key"), "5")
    for name, process in supervised(mode, **everything).items():
        if name == "xray-daemon":
            continue  # Not our program: its command line is checked below.
        given = set(composed(mode)["services"][name]["environment"])
        # What reads back is none of the application's business, and where the Collector is, it is told by the SDKs' own variables.
        # The page is no part of it, and reads.
        application = process.tier.name == "APPLICATION" and name != "compare"
        unneeded = {"HONEYCOMB_QUERY_KEY", "ROLLBAR_READ_TOKEN"} if application else set()
        unneeded |= {port for port in process.environment if port.endswith("_PORT")} - {port.setting for port in process.ports}
        if name == "collector":
            unneeded |= {"XRAY_ENDPOINT", "HONEYCOMB_QUERY_KEY", "LOG_GROUP", "LOG_STREAM"}
        if process.tier.name == "VENDOR":
            unneeded |= {setting for setting in process.environment if setting.endswith("_ENDPOINT")}
        elif application:
            unneeded |= {"COLLECTOR_MEMORY_LIMIT_MIB", "METRICS_LOG_GROUP", "DATABASE_URL"}
        assert set(process.environment) - unneeded - FIXED <= given, name


def test_services_name_only_settings_that_exist(mode: str) -> None:
    ours = {name.upper() for name in Settings.model_fields}
    others = {
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "AWS_XRAY_DAEMON_ADDRESS",
        "AWS_EC2_METADATA_DISABLED",
        "XRAY_DAEMON_HOST",
        "COLLECTOR_QUEUE_DIR",
    }
    for name, service in composed(mode)["services"].items():
        if name != "postgres":
            assert set(service["environment"]) <= ours | others | set(COLLECTOR_ENVIRONMENT), name


def test_the_collector_is_told_how_to_retry(mode: str) -> None:
    environment = composed(mode)["services"]["collector"]["environment"]
    assert {name: environment[name] for name in COLLECTOR_ENVIRONMENT} == COLLECTOR_ENVIRONMENT


def test_defaults_are_those_of_the_settings() -> None:
    """A default written in the files is the one compose.settings has."""
    settings = load()
    for path in DOCKER.glob("*.yaml"):
        for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", path.read_text()):
            if name == "DATABASE_URL":
                continue  # PostgreSQL here, SQLite there: it is what the file is for.
            value = settings.environment()[name] if path.name != "online.yaml" else load(mode="online").environment()[name]
            assert default == value, f"{path.name}: {name}"


def test_offline_nothing_points_outside() -> None:
    for name, service in composed("offline")["services"].items():
        for variable, value in service["environment"].items():
            if variable.endswith(("_ENDPOINT", "_URL")) and value is not None:
                host = re.search(r"(?:@|//)([\w-]+):\d+", value)
                assert host is not None, f"{name}: {variable}"
                assert host[1] in composed("offline")["services"], f"{name}: {variable}"


@pytest.mark.parametrize("key", sorted(KEYS))
def test_online_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(Missing, match=f"{key}: set it in .env"):
        composed("online", {key: ""})


def test_commands_are_those_of_the_processes(mode: str) -> None:
    services = composed(mode)["services"]
    for name, process in supervised(mode).items():
        if name == "collector":
            files = [f"--config=/etc/parallax/{file.name}" for file in config_files("collector", {"honeycomb", "xray", "cloudwatch"})]
            assert services[name]["command"] == files
        elif name == "xray-daemon":
            assert "--local-mode" in services[name]["command"]
        else:
            # "python -m gunicorn …" here, "gunicorn …" there.
            assert list(process.command)[-2:] == services[name]["command"][-2:], name


def test_rule_and_group_are_made_once_and_before_the_application_asks_for_rules(mode: str) -> None:
    services = composed(mode)["services"]
    service = services["init"]
    # Offline this process calls X-Ray by a name that only containers know; a person types the commands outside.
    outside = ["--typed-endpoint", services["aws"]["ports"][0].rpartition(":")[0]] if mode == "offline" else []
    assert service["command"] == ["python", "-m", "compose", "init", *(word.replace("127", "http://127") for word in outside)]
    assert service["restart"] == "no"
    assert services["cruddur"]["depends_on"]["init"] == {"condition": "service_completed_successfully", "required": False}
    # The same X-Ray, with the same key, as the application's.
    assert service["environment"].items() <= services["cruddur"]["environment"].items()
    needed = {name for name in supervised(mode)["cruddur"].environment if name.startswith("AWS_") and not name.endswith("_PORT")}
    assert needed | {"MODE", "BACKENDS", "XRAY_ENDPOINT"} <= set(service["environment"])


def test_the_collector_image_is_the_version_that_is_built_here(mode: str) -> None:
    built = re.search(r"otlpreceiver v(\S+)", (ROOT / "collector" / "manifest.yaml").read_text())
    assert built is not None
    assert composed(mode)["services"]["collector"]["image"] == f"otel/opentelemetry-collector-contrib:{built[1]}"


def test_the_daemon_sends_offline_to_the_local_cloud() -> None:
    merged = composed("offline")
    (mounted,) = merged["services"]["xray-daemon"]["configs"]
    assert mounted["target"] in merged["services"]["xray-daemon"]["command"]
    config = yaml.safe_load(merged["configs"][mounted["source"]]["content"])
    assert config == {"Version": 2, "Region": "us-east-1", "Endpoint": "http://aws:4566"}


def test_the_image_contains_what_its_commands_need_and_no_secret() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    for source in sources:
        assert list(ROOT.glob(source)), f"COPY {source}: there is no such file"
    allowed = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in allowed, "everything is left out but what is named"
    assert not any(".env" in line or ".state" in line for line in allowed if line.startswith("!"))
