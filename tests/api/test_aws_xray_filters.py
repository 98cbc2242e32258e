"""docs/local-xray-filters.md holds: each of its expressions finds the traces it says, asked through boto3."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from tests.api.aws_clients import client, put, segment, segment_id, summaries, trace_id
from tests.api.servers import Vendor, start_vendor

PAGE = Path(__file__).parents[2] / "docs" / "local-xray-filters.md"
#: A row of a table whose first cell is an expression and whose second lists traces.
ROW = re.compile(r"^\| `(?P<expression>[^`]+)` \| (?P<finds>[a-z, ]*?) ?\|", re.MULTILINE)
EXAMPLES = [(found["expression"], found["finds"].split(", ") if found["finds"] else []) for found in ROW.finditer(PAGE.read_text("utf-8"))]
TRACES = ("home", "slow", "broken", "handled", "open")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def xray(aws: Vendor) -> Any:
    return client(aws, "xray")


@pytest.fixture(scope="module")
def story(xray: Any) -> tuple[int, dict[str, str]]:
    """The page's five traces: when they began, and their names by id."""
    start = int(time.time()) - 60
    ids = {name: trace_id(start) for name in TRACES}

    def request(method: str, path: str, status: int | None, **more: str) -> dict[str, Any]:
        return {"request": {"method": method, "url": f"http://localhost:4567{path}"} | more} | (
            {"response": {"status": status}} if status else {}
        )

    def call(name: str, seconds: float, **fields: Any) -> dict[str, Any]:
        return {"id": segment_id(), "name": name, "start_time": start, "end_time": start + seconds, "namespace": "remote"} | fields

    def cruddur(name: str, seconds: float, **fields: Any) -> dict[str, Any]:
        return segment(ids[name], name="Cruddur", start_time=start, end_time=start + seconds, **fields)

    def profiles(name: str, parent: dict[str, Any], seconds: float, **fields: Any) -> dict[str, Any]:
        return segment(ids[name], name="profiles", parent_id=parent["id"], start_time=start, end_time=start + seconds, **fields)

    asked = {name: call("profiles", seconds) for name, seconds in (("slow", 5.5), ("handled", 0.4))}
    asked["broken"] = call("profiles", 0.3, fault=True)
    failure = {"exceptions": [{"id": segment_id(), "type": "KeyError", "message": "no such user"}]}
    put(
        xray,
        cruddur(
            "home",
            0.2,
            user="ada",
            http=request("GET", "/home", 200, user_agent="curl/8", client_ip="10.0.0.7"),
            annotations={"handle": "ada", "age": 36, "beta": True, "request.id": "r1"},
            resource_arn="arn:aws:ecs:us-east-1:123456789012:service/local:cruddur",
            subsegments=[call("cruddur@db", 0.05, sql={"url": "postgresql://db/cruddur"})],
        ),
        cruddur(
            "slow", 6.0, user="bob", http=request("GET", "/profile/bob", 200), annotations={"handle": "bob"}, subsegments=[asked["slow"]]
        ),
        profiles("slow", asked["slow"], 5.4, annotations={"rows": 3}),
        cruddur("broken", 0.4, fault=True, http=request("POST", "/post", 500), annotations={"beta": False}, subsegments=[asked["broken"]]),
        profiles("broken", asked["broken"], 0.25, fault=True, cause=failure),
        cruddur(
            "handled",
            0.5,
            http=request("GET", "/home", 200),
            aws={"account_id": "111122223333", "ec2": {"instance_id": "i-1", "availability_zone": "us-east-1a"}},
            subsegments=[asked["handled"]],
        ),
        profiles("handled", asked["handled"], 0.35, fault=True),
        {"trace_id": ids["open"], "id": segment_id(), "name": "Cruddur", "start_time": start, "in_progress": True}
        | {"http": request("GET", "/stream", None)},
    )
    return start, {identity: name for name, identity in ids.items()}


def found(xray: Any, story: tuple[int, dict[str, str]], expression: str) -> list[str]:
    start, names = story
    told = {names[summary["Id"]] for summary in summaries(xray, start, start + 1, FilterExpression=expression)}
    return [name for name in TRACES if name in told]


def test_the_page_has_examples_of_everything() -> None:
    text = " ".join(expression for expression, _ in EXAMPLES)
    assert len(EXAMPLES) > 55
    for word in (
        "service(",
        "edge(",
        "id(",
        "annotation.",
        "annotation[",
        "rootcause.json",
        "CONTAINS",
        "BEGINSWITH",
        "ENDSWITH",
        "coverage",
    ):
        assert word in text


@pytest.mark.parametrize(("expression", "finds"), EXAMPLES, ids=[expression for expression, _ in EXAMPLES])
def test_an_example_finds_what_the_page_says(xray: Any, story: tuple[int, dict[str, str]], expression: str, finds: list[str]) -> None:
    assert found(xray, story, expression) == finds


def test_a_group_stands_for_its_expression(xray: Any, story: tuple[int, dict[str, str]]) -> None:
    arn = xray.create_group(GroupName="failing", FilterExpression="service() { fault }")["Group"]["GroupARN"]
    assert found(xray, story, 'group.name = "failing"') == ["broken", "handled"]
    assert found(xray, story, f'group.arn = "{arn}" AND ok') == ["handled"]
    assert found(xray, story, 'group.name != "failing"') == ["home", "slow", "open"]
    assert found(xray, story, 'group.name = "Default"') == list(TRACES)
    xray.update_group(GroupName="failing", FilterExpression="fault")
    assert found(xray, story, 'group.name = "failing"') == ["broken"]


def test_what_is_malformed_is_refused_everywhere(xray: Any, story: tuple[int, dict[str, str]]) -> None:
    """With the message the page shows."""
    (shown,) = re.findall(r"^```\n(Invalid filter expression.*?)\n```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    xray.create_group(GroupName="changing", FilterExpression="ok")
    for call in (
        lambda: found(xray, story, 'service("a" }'),
        lambda: xray.create_group(GroupName="new", FilterExpression='service("a" }'),
        lambda: xray.update_group(GroupName="changing", FilterExpression='service("a" }'),
    ):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            call()
        assert caught.value.response["Error"] == {"Code": "InvalidRequestException", "Message": shown}
    groups = {group["GroupName"]: group.get("FilterExpression") for group in xray.get_groups()["Groups"]}
    assert groups["changing"] == "ok"
    assert "new" not in groups
