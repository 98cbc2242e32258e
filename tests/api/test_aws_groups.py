"""Groups over the wire: their names, expressions, insights settings, tags and limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.aws_clients import client, refused
from tests.api.servers import Vendor, start_vendor

OFF = {"InsightsEnabled": False, "NotificationsEnabled": False}
EXPRESSION = 'service("Cruddur")'


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("groups")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def at_first(aws: Vendor) -> dict[str, dict[str, Any]]:
    """The groups of the account before any test."""
    return groups(client(aws, "xray"))


@pytest.fixture
def xray(aws: Vendor, at_first: dict[str, dict[str, Any]]) -> Any:
    """A client of an account with no group but those it had at first."""
    made = client(aws, "xray")
    for name in groups(made).keys() - at_first.keys():
        made.delete_group(GroupName=name)
    return made


def groups(xray: Any) -> dict[str, dict[str, Any]]:
    return {group["GroupName"]: group for group in xray.get_groups()["Groups"]}


def test_a_new_account_has_the_default_group(xray: Any, at_first: dict[str, dict[str, Any]]) -> None:
    default = {"GroupName": "Default", "GroupARN": "arn:aws:xray:us-east-1:123456789012:group/Default", "InsightsConfiguration": OFF}
    assert at_first == {"Default": default}
    assert xray.get_group(GroupName="Default")["Group"] == default
    refused(lambda: xray.delete_group(GroupName="Default"), "InvalidRequestException", "cannot be deleted")
    refused(lambda: xray.create_group(GroupName="Default"), "InvalidRequestException", "already exists")
    refused(lambda: xray.update_group(GroupName="Default", FilterExpression="ok"), "InvalidRequestException", "no filter expression")
    on = OFF | {"InsightsEnabled": True}
    assert xray.update_group(GroupName="Default", InsightsConfiguration=on)["Group"]["InsightsConfiguration"] == on


def test_a_group_is_made_changed_and_deleted(xray: Any, aws: Vendor) -> None:
    made = xray.create_group(GroupName="Cruddur", FilterExpression=EXPRESSION, Tags=[{"Key": "k", "Value": "v"}])["Group"]
    arn = made["GroupARN"]
    assert arn.startswith("arn:aws:xray:us-east-1:123456789012:group/Cruddur/")
    assert made == {"GroupName": "Cruddur", "GroupARN": arn, "FilterExpression": EXPRESSION, "InsightsConfiguration": OFF}
    assert xray.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
    xray.create_group(GroupName="cruddur")
    assert list(groups(xray)) == ["Cruddur", "Default", "cruddur"], "names differ by their case"
    changed = xray.update_group(GroupARN=arn, FilterExpression="fault = true")["Group"]
    assert changed == made | {"FilterExpression": "fault = true"}
    aws.restart()
    assert xray.get_group(GroupARN=arn)["Group"] == xray.get_group(GroupName="Cruddur")["Group"] == changed
    xray.delete_group(GroupARN=arn)
    refused(lambda: xray.get_group(GroupName="Cruddur"), "InvalidRequestException", "Group not found: Cruddur")
    again = xray.create_group(GroupName="Cruddur")["Group"]
    assert again["GroupARN"] != arn, "another group, though it has the name"
    assert xray.list_tags_for_resource(ResourceARN=again["GroupARN"])["Tags"] == []


def test_bad_groups_are_refused_and_nothing_is_kept(xray: Any) -> None:
    xray.create_group(GroupName="there", FilterExpression="ok")
    before = groups(xray)
    invalid = "InvalidRequestException"
    refused(lambda: xray.create_group(GroupName="there"), invalid, "already exists")
    refused(lambda: xray.create_group(GroupName="n" * 33), invalid, "less than or equal to 32")
    refused(lambda: xray.create_group(GroupName="a\tb"), invalid, "printable")
    refused(lambda: xray.create_group(GroupName="new", FilterExpression="service("), invalid, "line 1, column")
    refused(lambda: xray.create_group(GroupName="new", FilterExpression='group.name = "new"'), invalid, "part of itself")
    tags = [{"Key": f"k{number}", "Value": "v"} for number in range(51)]
    refused(lambda: xray.create_group(GroupName="new", Tags=tags), invalid, "50")
    notify = {"NotificationsEnabled": True}
    refused(lambda: xray.create_group(GroupName="new", InsightsConfiguration=notify), invalid, "NotificationsEnabled needs")
    refused(lambda: xray.update_group(GroupName="there", FilterExpression="duration <"), invalid, "column")
    refused(lambda: xray.update_group(GroupName="there", InsightsConfiguration=notify), invalid, "NotificationsEnabled needs")
    refused(lambda: xray.update_group(GroupName="nobody", FilterExpression="ok"), invalid, "Group not found")
    refused(lambda: xray.get_group(), invalid, "either GroupName or GroupARN")
    refused(lambda: xray.get_group(GroupName="there", GroupARN=before["there"]["GroupARN"]), invalid, "either GroupName or GroupARN")
    refused(lambda: xray.delete_group(GroupARN="arn:aws:xray:us-east-1:123456789012:group/there/0"), invalid, "Group not found")
    refused(lambda: xray.get_groups(NextToken="no"), invalid, "NextToken")
    assert groups(xray) == before


def test_there_are_at_most_25_groups_beside_the_default_one(xray: Any) -> None:
    for number in range(25):
        xray.create_group(GroupName=f"g{number}")
    refused(lambda: xray.create_group(GroupName="one more"), "InvalidRequestException", "25")
    assert len(groups(xray)) == 26
