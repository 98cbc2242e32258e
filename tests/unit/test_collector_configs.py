"""Which files each Collector process loads, and what must hold for the files together."""

from __future__ import annotations

import re
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.configs import CONFIG_DIR, OTLP_BACKENDS, command, config_files
from compose.settings import Settings

SUBSETS = [frozenset(subset) for subset in chain.from_iterable(combinations(OTLP_BACKENDS, size) for size in range(4))]


def names(files: list[Path]) -> list[str]:
    return [file.stem for file in files]


def load(file: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(file.read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_honeycomb_takes_every_signal_so_nothing_is_discarded() -> None:
    assert names(config_files("collector", frozenset({"honeycomb", "xray", "cloudwatch", "rollbar"}))) == [
        "base",
        "honeycomb",
        "xray",
        "cloudwatch",
    ]


def test_without_honeycomb_a_signal_nobody_wants_is_discarded() -> None:
    assert names(config_files("collector", frozenset({"xray"}))) == ["base", "discard", "xray"]
    assert names(config_files("collector", frozenset({"rollbar"}))) == ["base", "discard"]


def test_a_backend_that_is_on_but_not_by_otlp_is_not_loaded() -> None:
    backends = frozenset({"honeycomb", "xray", "cloudwatch"})
    paths = frozenset({"honeycomb/otlp", "xray/sdk", "cloudwatch/watchtower"})
    assert names(config_files("collector", backends, paths)) == ["base", "honeycomb"]
    assert names(config_files("collector", backends, paths | {"xray/otlp"})) == ["base", "honeycomb", "xray"]


@pytest.mark.parametrize("backends", SUBSETS)
def test_the_daemon_loads_its_own_file_whatever_is_on(backends: frozenset[str]) -> None:
    assert names(config_files("xray-daemon", backends)) == ["daemon"]


def test_the_command_names_each_file() -> None:
    assert command("xray-daemon", frozenset(), Path("bin/otelcol")) == ["bin/otelcol", f"--config={CONFIG_DIR / 'daemon.yaml'}"]


@pytest.mark.parametrize("backends", SUBSETS)
def test_recording_is_one_file_more_and_only_the_collectors(backends: frozenset[str]) -> None:
    plain = names(config_files("collector", backends))
    assert names(config_files("collector", backends, record=True)) == [*plain, "recording"]
    assert names(config_files("xray-daemon", backends, record=True)) == ["daemon"]


def test_what_cannot_be_recorded_is_never_answered_to_the_application() -> None:
    """An exporter's failure is the receiver's answer, unless a queue stands between; one that is tried again would hold memory."""
    config = load(CONFIG_DIR / "recording.yaml")
    for pipeline in config["service"]["pipelines"].values():
        if "otlp" in pipeline["receivers"]:
            assert pipeline["exporters"] == ["otlp_grpc/recording_hop"]
    hop = config["exporters"]["otlp_grpc/recording_hop"]
    assert hop["retry_on_failure"] == {"enabled": False}
    assert "storage" not in hop["sending_queue"]
    assert "batch" not in hop["sending_queue"], "a request stays the request it was"
    for name, exporter in config["exporters"].items():
        if name.startswith("file/"):
            assert exporter["rotation"]["max_backups"], name


@pytest.mark.parametrize("backends", SUBSETS)
def test_files_loaded_together_do_not_define_anything_twice(backends: frozenset[str]) -> None:
    """Files merge by key, and lists are replaced: what two files define, one of them loses."""
    seen: set[tuple[str, str]] = set()
    for file in config_files("collector", backends, record=True):
        config = load(file)
        sections = {
            **{key: value for key, value in config.items() if key != "service"},
            "pipelines": config["service"].get("pipelines", {}),
        }
        for section, components in sections.items():
            for component in components:
                assert (section, component) not in seen, f"{file.name} defines {section}.{component} again"
                seen.add((section, component))


@pytest.mark.parametrize("file", sorted(CONFIG_DIR.glob("*.yaml")), ids=lambda file: file.name)
def test_a_file_says_first_when_it_is_loaded(file: Path) -> None:
    assert file.read_text().startswith(("# Loaded by the process ", "# Loaded always, and first, by the process "))


@pytest.mark.parametrize("file", sorted(CONFIG_DIR.glob("*.yaml")), ids=lambda file: file.name)
def test_addresses_and_keys_come_from_the_environment(file: Path) -> None:
    without_comments = re.sub(r"#.*", "", file.read_text())
    fixed = re.sub(r"\$\{env:[^}]*\}", "", without_comments)
    assert not re.search(r":\d{4,5}\b", fixed), "a port stands in the file"
    assert not re.search(r"https?://[\w.-]", fixed), "an endpoint stands in the file"


@pytest.mark.parametrize("file", sorted(CONFIG_DIR.glob("*.yaml")), ids=lambda file: file.name)
def test_defaults_agree_with_the_settings(file: Path) -> None:
    for name, default in re.findall(r"\$\{env:([A-Z_]+):-([^}]*)\}", file.read_text()):
        field = Settings.model_fields.get(name.lower())
        if field is not None:
            assert str(field.default) == default, f"{file.name}: {name}"


@pytest.mark.parametrize("file", sorted(CONFIG_DIR.glob("*.yaml")), ids=lambda file: file.name)
def test_every_queue_is_on_disk_and_every_retry_endless(file: Path) -> None:
    for name, exporter in load(file).get("exporters", {}).items():
        # awsxray and awsemf have neither, nop needs none: the hop before them has both.
        if name in ("awsxray", "awsemf", "nop"):
            continue
        # A recording loses rather than costs: see the test of that.
        if file.stem == "recording":
            continue
        assert exporter["sending_queue"]["storage"] == "file_storage", name
        assert exporter["retry_on_failure"]["max_elapsed_time"] == 0, name


@pytest.mark.parametrize("file", sorted(CONFIG_DIR.glob("*.yaml")), ids=lambda file: file.name)
def test_the_memory_limiter_comes_first_where_data_comes_from_outside(file: Path) -> None:
    for name, pipeline in load(file)["service"].get("pipelines", {}).items():
        if pipeline["receivers"] in (["otlp"], ["awsxray"]):
            assert pipeline["processors"][0] == "memory_limiter", name
