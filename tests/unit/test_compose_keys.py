"""Keys that are missing are named before anything starts; boto3's own chain counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.keys import check
from compose.settings import ConfigurationError, load

pytestmark = pytest.mark.usefixtures("default_settings")


@pytest.fixture(autouse=True)
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which boto3 finds nothing; the file it would find credentials in."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path / "credentials"


@pytest.mark.parametrize("backend", ["xray", "cloudwatch"])
def test_without_any_credentials_aws_is_named(backend: str) -> None:
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID is empty, and boto3 finds no credentials"):
        check(load(mode="online", backends=backend))


def test_half_a_key_is_named_by_its_other_half() -> None:
    with pytest.raises(ConfigurationError, match="AWS_SECRET_ACCESS_KEY is empty"):
        check(load(mode="online", backends="xray", aws_access_key_id="AKIAEXAMPLE"))
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID is empty"):
        check(load(mode="online", backends="xray", aws_secret_access_key="example"))


def test_a_profile_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="nobody"):
        check(load(mode="online", backends="xray"))


def test_what_boto3_finds_is_enough(no_credentials: Path) -> None:
    no_credentials.write_text("[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = example\n")
    check(load(mode="online", backends="xray,cloudwatch"))


def test_who_does_not_use_aws_needs_no_credentials_for_it() -> None:
    check(load())
    check(load(mode="online", backends="honeycomb", honeycomb_api_key="key"))
