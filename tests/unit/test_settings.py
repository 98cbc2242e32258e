"""The settings: defaults that follow from the mode, wrong values named, and everything generated from them current."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compose import generate
from compose.settings import ROOT, Backend, ConfigurationError, Settings, SignalPath, load

pytestmark = pytest.mark.usefixtures("default_settings")


def test_offline_everything_is_local_and_nothing_has_to_be_set() -> None:
    settings = load()
    settings.check_keys()
    for endpoint in (settings.honeycomb_endpoint, settings.rollbar_endpoint, settings.xray_endpoint, settings.logs_endpoint):
        assert endpoint.startswith("http://127.0.0.1:")
    assert settings.paths == frozenset(SignalPath)


def test_local_endpoints_follow_the_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONEYCOMB_PORT", "5001")
    monkeypatch.setenv("AWS_PORT", "5002")
    settings = load()
    assert settings.honeycomb_endpoint == "http://127.0.0.1:5001"
    assert settings.xray_endpoint == settings.logs_endpoint == "http://127.0.0.1:5002"


def test_online_goes_to_the_vendors_and_has_no_local_key() -> None:
    settings = load(mode="online")
    assert settings.honeycomb_endpoint == "https://api.honeycomb.io"
    assert settings.rollbar_endpoint == "https://api.rollbar.com"
    assert settings.xray_endpoint == ""
    assert settings.aws_access_key_id == ""
    with pytest.raises(ConfigurationError, match="HONEYCOMB_API_KEY"):
        settings.check_keys()
    load(mode="online", backends="xray").check_keys()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MODE", "both", "MODE"),
        ("BACKENDS", "honeycomb,datadog", "BACKENDS does not know datadog; choose from honeycomb, xray, cloudwatch, rollbar"),
        ("CRUDDUR_PORT", "0", "CRUDDUR_PORT"),
        ("CRUDDUR_PORT", "http", "CRUDDUR_PORT"),
        ("REQUESTS", "many", "REQUESTS='many': it must be a valid integer"),
        ("REQUESTS", "0", "REQUESTS='0': it must be greater than or equal to 1"),
        ("FORMAT", "xml", "FORMAT='xml': it must be 'table', 'json', 'markdown' or 'junit'"),
        ("SETTLE", "-1", "SETTLE"),
        ("HONEYCOMB_ENDPOINT", "api.honeycomb.io", "HONEYCOMB_ENDPOINT='api.honeycomb.io': it must begin with http:// or https://"),
        ("TARGET_URL", "ftp://cruddur", "TARGET_URL='ftp://cruddur'"),
        ("ROLLBAR_ENDPOINT", "http://", "ROLLBAR_ENDPOINT"),
        ("XRAY_ENDPOINT", "http://host:port", "XRAY_ENDPOINT"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_setting(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as raised:
        load()
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_settings_file_that_is_no_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_bytes(b"SEED=\xff\xfe\n")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    with pytest.raises(ConfigurationError, match=r"/\.env cannot be read \(.*\); write it anew from \.env\.example"):
        load()


def test_a_misspelled_line_of_the_file_is_named_and_a_foreign_one_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    (tmp_path / ".env").write_text("COMPOSE_PROJECT_NAME=mine\nseed=7\n")
    assert load().seed == 7
    (tmp_path / ".env").write_text("CRUDDUR_PROT=5\n")
    with pytest.raises(ConfigurationError, match=r"CRUDDUR_PROT in \.env is no setting; did you mean CRUDDUR_PORT\?"):
        load()


def test_a_state_folder_of_no_name_is_the_default_and_not_the_project_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIR", "")
    assert load().state_dir == ROOT / ".state"


def test_paths_are_put_behind_an_endpoint_whether_it_ends_with_a_slash_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONEYCOMB_ENDPOINT", "https://api.eu1.honeycomb.io/")
    assert load().honeycomb_endpoint == "https://api.eu1.honeycomb.io"


@pytest.mark.parametrize(
    ("chosen", "paths"),
    [
        ({"backends": "rollbar"}, {SignalPath.ROLLBAR_SDK}),
        ({"backends": "xray", "xray_paths": "sdk"}, {SignalPath.XRAY_SDK}),
        ({"backends": "cloudwatch", "cloudwatch_paths": "otlp"}, {SignalPath.CLOUDWATCH_OTLP}),
        ({"backends": ""}, set()),
    ],
)
def test_paths_follow_backends_and_transports(chosen: dict[str, Any], paths: set[SignalPath]) -> None:
    assert load(**chosen).paths == paths


def test_secrets_are_in_the_environment_of_children_and_nowhere_else() -> None:
    settings = load(honeycomb_api_key="hcaik_secret", database_url="postgresql://user:password@host/db")
    assert settings.environment()["HONEYCOMB_API_KEY"] == "hcaik_secret"
    shown = str(settings.public()) + repr(settings.honeycomb_api_key)
    assert "hcaik_secret" not in shown
    assert "password" not in shown


@pytest.mark.parametrize("backends", ["xray,rollbar", ""])
def test_a_child_reads_back_the_same_settings(monkeypatch: pytest.MonkeyPatch, backends: str) -> None:
    """What `up` hands to a process gives that process the settings `up` has."""
    settings = load(backends=backends, requests=7, sandbox=False, otlp_grpc_port=5000)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load() == settings


def test_every_setting_says_what_it_is_and_where_it_belongs() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert generate.group_of(field), name


def test_generated_files_are_current() -> None:
    assert generate.out_of_date() == [], "make docs"


def test_generated_files_name_every_setting_and_no_folder_of_this_machine() -> None:
    example = (ROOT / ".env.example").read_text()
    page = (ROOT / "docs" / "settings.md").read_text()
    for name in Settings.model_fields:
        assert f"\n# {name.upper()}=" in example
        assert f"| `{name.upper()}` |" in page
    for text in (example, page, (ROOT / "compose" / "help.txt").read_text()):
        assert str(ROOT) not in text


def test_the_example_environment_changes_nothing_and_every_line_of_it_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking the # away from every line gives the defaults again."""
    plain = load()
    for line in (ROOT / ".env.example").read_text().splitlines():
        name, equals, value = line.removeprefix("# ").partition("=")
        if equals and name.lower() in Settings.model_fields:
            monkeypatch.setenv(name, value)
    assert load() == plain
    assert plain.backends == frozenset(Backend)
