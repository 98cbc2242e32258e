"""Which processes run for which settings, on which ports, with which keys."""

from __future__ import annotations

from typing import Any

import pytest

from compose import ports
from compose.processes import OF_COMMANDS, Process, Tier, processes, setting_names
from compose.settings import ROOT, Settings, load

pytestmark = pytest.mark.usefixtures("default_settings")

ALL = {"cruddur", "profiles", "collector", "xray-daemon", "aws", "honeycomb", "rollbar", "compare"}


def running(**settings: Any) -> dict[str, Process]:
    return {process.name: process for process in processes(load(**settings))}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ALL),
        ({"backends": ""}, {"cruddur", "profiles", "compare"}),
        ({"backends": "rollbar"}, {"cruddur", "profiles", "compare", "rollbar"}),
        ({"backends": "honeycomb"}, {"cruddur", "profiles", "compare", "collector", "honeycomb"}),
        ({"backends": "xray"}, {"cruddur", "profiles", "compare", "collector", "xray-daemon", "aws"}),
        ({"backends": "xray", "xray_paths": "sdk"}, {"cruddur", "profiles", "compare", "xray-daemon", "aws"}),
        # The Collector sends X-Ray's traces through the daemon, which signs them.
        ({"backends": "xray", "xray_paths": "otlp"}, {"cruddur", "profiles", "compare", "collector", "xray-daemon", "aws"}),
        ({"backends": "cloudwatch", "cloudwatch_paths": "watchtower"}, {"cruddur", "profiles", "compare", "aws"}),
        ({"mode": "online"}, {"cruddur", "profiles", "compare", "collector", "xray-daemon"}),
    ],
)
def test_what_runs_follows_from_the_settings(settings: dict[str, Any], names: set[str]) -> None:
    assert set(running(**settings)) == names


def test_the_collector_loads_only_the_backends_it_serves() -> None:
    command = " ".join(running(backends="xray,honeycomb", xray_paths="sdk")["collector"].command)
    assert "honeycomb.yaml" in command
    assert "xray.yaml" not in command


def test_every_port_that_is_a_setting_belongs_to_one_process() -> None:
    declared = {port.setting for process in running().values() for port in process.ports}
    settings = {name.upper() for name in Settings.model_fields if name.endswith("_port")}
    assert settings - declared == {"LOCUST_PORT"}
    assert ports.clashes(running().values()) == []


def test_two_settings_with_the_same_number_are_named() -> None:
    clash = ports.clashes(running(honeycomb_port=4600, rollbar_port=4600).values())
    assert clash == ["HONEYCOMB_PORT and ROLLBAR_PORT are both 4600; set one of them to another port"]


def test_a_process_gets_no_key_it_does_not_need() -> None:
    found = running(honeycomb_api_key="k1", rollbar_access_token="k2")
    assert "ROLLBAR_ACCESS_TOKEN" not in found["honeycomb"].environment
    assert "ROLLBAR_ACCESS_TOKEN" not in found["collector"].environment
    assert "HONEYCOMB_API_KEY" not in found["aws"].environment
    assert found["cruddur"].environment["ROLLBAR_ACCESS_TOKEN"] == "k2"


def test_the_page_gets_what_reads_and_nothing_that_sends() -> None:
    secrets = {"honeycomb_api_key": "k1", "honeycomb_query_key": "k2", "rollbar_access_token": "k3", "rollbar_read_token": "k4"}
    page = running(**secrets, database_url="postgresql://u:k5@db/cruddur")["compare"].environment
    assert {"k1", "k3"}.isdisjoint(page.values())
    assert not any("k5" in value for value in page.values())
    assert {"k2", "k4"} <= set(page.values())
    assert page["TARGET_URL"] == "http://127.0.0.1:4567"


def test_what_only_a_command_reads_changes_no_process() -> None:
    plain = running()
    for name, value in {"requests": 10, "seed": 9, "run": "r1", "format": "json", "profile": "smoke"}.items():
        assert name in setting_names(OF_COMMANDS)
        assert running(**{name: value}) == plain, name


def test_applications_end_before_the_collector_and_vendors_last() -> None:
    tiers = {name: process.tier for name, process in running().items()}
    assert tiers["cruddur"] < tiers["collector"] < tiers["xray-daemon"] < tiers["aws"] == Tier.VENDOR


def test_commands_and_queues_lie_where_the_layout_says() -> None:
    found = running()
    queues = load().state_dir / "queues" / "offline"
    assert found["collector"].environment["COLLECTOR_QUEUE_DIR"] == str(queues / "collector")
    assert found["xray-daemon"].environment["XRAY_DAEMON_QUEUE_DIR"] == str(queues / "xray-daemon")
    assert (ROOT / "services" / "gunicorn.conf.py").is_file()


def test_what_waits_offline_is_never_sent_online() -> None:
    offline, online = running(), running(mode="online")
    for name, variable in (("collector", "COLLECTOR_QUEUE_DIR"), ("xray-daemon", "XRAY_DAEMON_QUEUE_DIR")):
        assert offline[name].environment[variable] != online[name].environment[variable]
