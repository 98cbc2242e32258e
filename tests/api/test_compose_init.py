"""``python -m compose init`` against the local X-Ray: what it makes, says and leaves alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compose import init
from compose.settings import ROOT, Settings
from services.cruddur.signals import XRAY_SEGMENT
from tests.api.aws_clients import aws_cli, client
from tests.api.servers import Vendor, hermetic_settings, start_vendor
from tests.ports import free_port

RULE = json.loads((ROOT / init.RULE_FILE).read_text())["SamplingRule"]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("aws")) as vendor:
        yield vendor


@pytest.fixture
def xray(aws: Vendor) -> Iterator[Any]:
    """A client of an X-Ray without rule and group."""
    made = client(aws, "xray")
    if init.GROUP in _groups(made):
        made.delete_group(GroupName=init.GROUP)
    if RULE["RuleName"] in _rules(made):
        made.delete_sampling_rule(RuleName=RULE["RuleName"])
    yield made
    made.close()


def _rules(xray: Any) -> dict[str, dict[str, Any]]:
    return {record["SamplingRule"]["RuleName"]: record["SamplingRule"] for record in xray.get_sampling_rules()["SamplingRuleRecords"]}


def _groups(xray: Any) -> dict[str, dict[str, Any]]:
    return {group["GroupName"]: group for group in xray.get_groups()["Groups"]}


def _state(xray: Any) -> tuple[dict[str, Any], str]:
    """What a person sees of rule and group, without what X-Ray adds."""
    rule = _rules(xray)[RULE["RuleName"]]
    return {name: rule[name] for name in RULE}, _groups(xray)[init.GROUP]["FilterExpression"]


def _run(settings: Settings, typed_endpoint: str = "") -> tuple[bool, str]:
    said: list[str] = []
    return init.ensure(settings, said.append, typed_endpoint=typed_endpoint), "\n".join(said)


def _typed(said: str) -> list[list[str]]:
    """The commands in what was said, as the shell would hand them to AWS's command line."""
    return [shlex.split(line)[1:] for line in said.splitlines() if line.startswith("  aws ")]


def test_the_rule_is_the_sandboxs_own() -> None:
    assert RULE["ServiceName"] == XRAY_SEGMENT, "the service the X-Ray SDK asks for"
    everything = {name: RULE[name] for name in ("ServiceType", "Host", "HTTPMethod", "URLPath", "ResourceARN")}
    assert set(everything.values()) == {"*"}
    assert (RULE["Priority"], RULE["FixedRate"], RULE["ReservoirSize"], RULE["Version"]) == (9000, 0.1, 5, 1)


def test_what_is_missing_is_made_and_repeating_it_is_harmless(aws: Vendor, xray: Any) -> None:
    right, said = _run(aws.settings)
    assert right
    assert "made sampling rule Cruddur" in said
    assert "made group Cruddur" in said
    assert _state(xray) == (RULE, 'service("Cruddur")')
    before = xray.get_sampling_rules()["SamplingRuleRecords"]

    right, said = _run(aws.settings)
    assert right
    assert _typed(said) == []
    assert "sampling rule Cruddur is there, as compose/xray/sampling-rule.json says" in said
    assert xray.get_sampling_rules()["SamplingRuleRecords"] == before


def test_the_commands_it_says_do_the_same_when_typed(aws: Vendor, xray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, said = _run(aws.settings)
    made = _state(xray)
    xray.delete_sampling_rule(RuleName=RULE["RuleName"])
    xray.delete_group(GroupName=init.GROUP)

    monkeypatch.chdir(ROOT)
    export = next(line for line in said.splitlines() if line.startswith("  export "))
    variables = dict(word.split("=", 1) for word in shlex.split(export)[1:])
    assert set(variables) == {"AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    commands = _typed(said)
    assert [words[1] for words in commands] == ["create-sampling-rule", "create-group"]
    for words in commands:
        assert words[-2:] == ["--endpoint-url", aws.url]
        # No endpoint from the environment: what was said is all a person has.
        done = aws_cli(aws, tmp_path, *words, **variables, AWS_ENDPOINT_URL="")
        assert done.returncode == 0, done.stderr
    assert _state(xray) == made
    assert _run(aws.settings)[0]


def test_what_differs_is_said_with_the_command_that_changes_it(
    aws: Vendor, xray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(aws.settings)
    xray.update_sampling_rule(SamplingRuleUpdate={"RuleName": "Cruddur", "FixedRate": 0.5, "URLPath": "/api/*"})
    xray.update_group(GroupName="Cruddur", FilterExpression='service("Other")')
    changed = _state(xray)
    right, said = _run(aws.settings)
    assert not right
    assert "FixedRate is 0.5 and not 0.1, URLPath is '/api/*' and not '*'" in said
    assert "FilterExpression is 'service(\"Other\")' and not 'service(\"Cruddur\")'" in said
    assert _state(xray) == changed, "nothing is overwritten"

    monkeypatch.chdir(ROOT)
    for words in _typed(said):
        done = aws_cli(aws, tmp_path, *words)
        assert done.returncode == 0, done.stderr
    assert _state(xray) == (RULE, 'service("Cruddur")')
    assert _run(aws.settings)[0]


def test_one_that_is_missing_is_made_beside_one_that_is_there(aws: Vendor, xray: Any) -> None:
    _run(aws.settings)
    xray.delete_group(GroupName=init.GROUP)
    right, said = _run(aws.settings)
    assert right
    assert "sampling rule Cruddur is there" in said
    assert "made group Cruddur" in said


def test_the_commands_go_where_the_person_finds_x_ray(aws: Vendor, xray: Any) -> None:
    """As in Docker, where this process calls X-Ray by a name that only containers know."""
    _, said = _run(aws.settings, "http://127.0.0.1:14566")
    assert [words[-2:] for words in _typed(said)] == [["--endpoint-url", "http://127.0.0.1:14566"]] * 2
    assert len(_groups(xray)) == 2


def test_an_x_ray_that_does_not_answer_is_given_up_in_time() -> None:
    settings = hermetic_settings(xray_endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(init.InitError, match=r"X-Ray \(http://127.0.0.1:\d+\) does not answer: .*; next: make up, then: make init"):
        init.ensure(settings, print, patience=0.6)


def test_an_x_ray_that_comes_up_late_is_waited_for(tmp_path: Path) -> None:
    vendor = Vendor("aws", hermetic_settings(aws_port=free_port(), state_dir=tmp_path), {})
    attempts = []

    def ask(xray: Any) -> str:
        attempts.append(1)
        if len(attempts) == 2:
            vendor.start()
        return str(xray.get_groups()["Groups"][0]["GroupName"])

    try:
        assert init._Calls(vendor.settings, 60).call(ask) == "Default"
    finally:
        vendor.kill()
    assert len(attempts) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"aws_access_key_id": "AKIDNOBODY"}, "X-Ray does not let this key do GetSamplingRules .*UnrecognizedClientException.*make init"),
        ({"aws_secret_access_key": "wrong"}, "X-Ray does not let this key do GetSamplingRules .*InvalidSignatureException.*make init"),
    ],
)
def test_a_key_that_x_ray_refuses_is_said_at_once(aws: Vendor, settings: dict[str, str], words: str) -> None:
    wrong = hermetic_settings(aws_port=aws.port, **settings)
    with pytest.raises(init.InitError, match=words):
        init.ensure(wrong, print, patience=600)


def test_without_credentials_online_it_says_where_they_go(aws: Vendor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(init.InitError, match="there are no AWS credentials; set AWS_ACCESS_KEY_ID"):
        init.ensure(hermetic_settings(mode="online", xray_endpoint=aws.url), print, patience=600)


def test_online_the_commands_go_to_the_regions_own_x_ray_and_show_no_key() -> None:
    settings = hermetic_settings(mode="online", aws_region="eu-west-1", aws_access_key_id="AKIAREAL", aws_secret_access_key="secret")
    assert init.command(settings.xray_endpoint, "get-groups") == "aws xray get-groups"
    assert init.environment(settings) == "export AWS_DEFAULT_REGION=eu-west-1"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"SamplingRule": {}}', '{"SamplingRule": {"RuleName": 1}}'])
def test_a_file_that_holds_no_rule_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rule.json"
    file.write_text(text)
    with pytest.raises(init.InitError, match=r"rule\.json holds no sampling rule \(.+\); it must look like"):
        init.read_rule(file)
    with pytest.raises(init.InitError, match="holds no sampling rule"):
        init.read_rule(tmp_path / "absent.json")
