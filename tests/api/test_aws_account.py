"""What X-Ray keeps for the whole account: encryption, destination, indexing rule, resource policies, tags; through boto3."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.aws_clients import client, refused
from tests.api.servers import Vendor, start_vendor
from tests.waiting import until

KEY = "ae4aa6d4-a4d8-9df9-a475-4ff6d7898456"
KEY_ARN = f"arn:aws:kms:us-east-1:123456789012:key/{KEY}"
ALLOW = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": ["xray:PutTraceSegments"], "Resource": "*"}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def xray(aws: Vendor) -> Any:
    return client(aws, "xray")


def policy(*statements: dict[str, Any], **members: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)} | members)


def without_policies(xray: Any) -> None:
    for one in xray.list_resource_policies()["ResourcePolicies"]:
        xray.delete_resource_policy(PolicyName=one["PolicyName"])


# -- encryption


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (KEY_ARN, KEY_ARN),
        (KEY, KEY_ARN),
        ("ae4aa6d49-a4d8-9df9-a475-4ff6d7898456", "arn:aws:kms:us-east-1:123456789012:key/ae4aa6d49-a4d8-9df9-a475-4ff6d7898456"),
        ("alias/MyKey", "arn:aws:kms:us-east-1:123456789012:alias/MyKey"),
        ("arn:aws:kms:eu-west-1:210987654321:alias/theirs", "arn:aws:kms:eu-west-1:210987654321:alias/theirs"),
    ],
)
def test_a_key_is_taken_in_every_documented_form_and_becomes_active(xray: Any, given: str, kept: str) -> None:
    assert xray.put_encryption_config(Type="KMS", KeyId=given)["EncryptionConfig"] == {"Type": "KMS", "KeyId": kept, "Status": "UPDATING"}
    until(lambda: xray.get_encryption_config()["EncryptionConfig"]["Status"] == "ACTIVE", 10, "the key to be in use")
    assert xray.get_encryption_config()["EncryptionConfig"] == {"Type": "KMS", "KeyId": kept, "Status": "ACTIVE"}


def test_back_to_default_encryption(xray: Any) -> None:
    assert xray.put_encryption_config(Type="NONE")["EncryptionConfig"] == {"Type": "NONE", "Status": "UPDATING"}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"Type": "KMS"}, "KeyId"),
        ({"Type": "NONE", "KeyId": KEY}, "left out"),
        ({"Type": "KMS", "KeyId": "my key"}, "KeyId 'my key'"),
        ({"Type": "KMS", "KeyId": "arn:aws:s3:::bucket"}, "KeyId"),
        ({"Type": "AES"}, "enum"),
        ({}, "'Type'"),
    ],
)
def test_a_bad_encryption_config_changes_nothing(xray: Any, members: dict[str, Any], words: str) -> None:
    before = xray.get_encryption_config()["EncryptionConfig"].get("KeyId")
    refused(lambda: xray.put_encryption_config(**members), "InvalidRequestException", words)
    assert xray.get_encryption_config()["EncryptionConfig"].get("KeyId") == before


# -- destination and indexing rule


def test_the_destination_changes_through_pending_and_takes_a_key_for_its_log_group_once(tmp_path: Path) -> None:
    with start_vendor("aws", tmp_path) as vendor:
        xray = client(vendor, "xray")

        def answer(call: Any) -> dict[str, Any]:
            return {name: value for name, value in call.items() if name != "ResponseMetadata"}

        assert answer(xray.get_trace_segment_destination()) == {"Destination": "XRay", "Status": "ACTIVE"}
        for key in (KEY, f"arn:aws:kms:us-east-1:123456789012:alias/{KEY}", KEY_ARN.replace("us-east-1", "eu-west-1")):
            logs = {"SpansLogGroupKmsKeyId": key}
            change = {"Destination": "CloudWatchLogs", "CloudWatchLogsConfiguration": logs}
            refused(lambda change=change: xray.update_trace_segment_destination(**change), "InvalidRequestException", "ARN")
        with_key = {"CloudWatchLogsConfiguration": {"SpansLogGroupKmsKeyId": KEY_ARN}}
        refused(lambda: xray.update_trace_segment_destination(Destination="XRay", **with_key), "InvalidRequestException", "CloudWatchLogs")
        refused(xray.update_trace_segment_destination, "InvalidRequestException", "Destination")
        pending = {"Destination": "CloudWatchLogs", "Status": "PENDING"}
        assert answer(xray.update_trace_segment_destination(Destination="CloudWatchLogs", **with_key)) == pending
        until(lambda: xray.get_trace_segment_destination()["Status"] == "ACTIVE", 10, "the destination to be active")
        refused(
            lambda: xray.update_trace_segment_destination(Destination="CloudWatchLogs", **with_key), "InvalidRequestException", "aws/spans"
        )
        # The same again changes nothing, so a script may say it at each start.
        assert answer(xray.update_trace_segment_destination(Destination="CloudWatchLogs"))["Status"] == "ACTIVE"


def test_the_indexing_rule(xray: Any) -> None:
    (rule,) = xray.get_indexing_rules()["IndexingRules"]
    assert rule["Name"] == "Default"
    before = time.time()
    changed = xray.update_indexing_rule(Name="Default", Rule={"Probabilistic": {"DesiredSamplingPercentage": 12.5}})["IndexingRule"]
    assert changed["Rule"] == {"Probabilistic": {"DesiredSamplingPercentage": 12.5, "ActualSamplingPercentage": 12.5}}
    assert changed["ModifiedAt"].timestamp() >= before - 1
    assert xray.get_indexing_rules()["IndexingRules"] == [changed]
    update = xray.update_indexing_rule
    for percentage in (-0.1, 100.5):
        rule = {"Probabilistic": {"DesiredSamplingPercentage": percentage}}
        refused(lambda rule=rule: update(Name="Default", Rule=rule), "InvalidRequestException", "between 0 and 100")
    refused(lambda: update(Name="Default", Rule={}), "InvalidRequestException", "Probabilistic")
    refused(lambda: update(Name="Default", Rule={"Probabilistic": {}}), "InvalidRequestException", "DesiredSamplingPercentage")
    rule = {"Probabilistic": {"DesiredSamplingPercentage": 1}}
    refused(lambda: update(Name="Other", Rule=rule), "ResourceNotFoundException", "Other", 404)
    refused(lambda: xray.get_indexing_rules(NextToken="x"), "InvalidRequestException", "NextToken")
    assert xray.get_indexing_rules()["IndexingRules"] == [changed]


# -- resource policies


def test_a_policy_is_made_changed_listed_and_deleted_by_its_revision(xray: Any) -> None:
    without_policies(xray)
    put, document = xray.put_resource_policy, policy(ALLOW)
    made = put(PolicyName="sns", PolicyDocument=document, PolicyRevisionId="0")["ResourcePolicy"]
    assert (made["PolicyName"], made["PolicyDocument"]) == ("sns", document)
    first = made["PolicyRevisionId"]
    wrong = "InvalidPolicyRevisionIdException"
    refused(lambda: put(PolicyName="sns", PolicyDocument=document, PolicyRevisionId="0"), wrong, "exists already")
    refused(lambda: put(PolicyName="sns", PolicyDocument=document, PolicyRevisionId="77"), wrong, "'77'")
    refused(lambda: put(PolicyName="new", PolicyDocument=document, PolicyRevisionId="1"), wrong, "no resource policy new")
    second = put(PolicyName="sns", PolicyDocument=policy(ALLOW, Id="two"), PolicyRevisionId=first)["ResourcePolicy"]
    assert second["PolicyRevisionId"] != first
    assert xray.list_resource_policies()["ResourcePolicies"] == [second]
    refused(lambda: xray.delete_resource_policy(PolicyName="sns", PolicyRevisionId=first), wrong, "latest")
    xray.delete_resource_policy(PolicyName="sns", PolicyRevisionId=second["PolicyRevisionId"])
    assert xray.list_resource_policies()["ResourcePolicies"] == []
    refused(lambda: xray.delete_resource_policy(PolicyName="sns"), "InvalidRequestException", "sns")
    refused(lambda: xray.list_resource_policies(NextToken="x"), "InvalidRequestException", "NextToken")


def test_five_policies_of_five_kilobytes_and_no_more(xray: Any) -> None:
    without_policies(xray)
    empty = len(policy(ALLOW, Id=""))
    largest = policy(ALLOW, Id="x" * (5 * 1024 - empty))
    for number in range(5):
        xray.put_resource_policy(PolicyName=f"p{number}", PolicyDocument=largest)
    refused(lambda: xray.put_resource_policy(PolicyName="p6", PolicyDocument=largest), "PolicyCountLimitExceededException", "5")
    larger = policy(ALLOW, Id="ü" * (5 * 1024 - empty))
    refused(lambda: xray.put_resource_policy(PolicyName="p1", PolicyDocument=larger), "PolicySizeLimitExceededException", "5120")
    # One of the five may still change.
    xray.put_resource_policy(PolicyName="p1", PolicyDocument=policy(ALLOW))
    without_policies(xray)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "object"),
        ("{}", "Statement"),
        (policy(), "at least one"),
        (policy(ALLOW, Version="2020-01-01"), "Version"),
        (policy(ALLOW, Other=1), "'Other'"),
        (policy(ALLOW, {"Effect": "Maybe"}), "Effect of Statement 2"),
        (policy(ALLOW | {"Principal": None}), "Principal"),
        (policy({key: value for key, value in ALLOW.items() if key != "Principal"}), "Principal"),
        (policy(ALLOW | {"Principal": {"Nobody": "x"}}), "'Nobody'"),
        (policy(ALLOW | {"NotAction": "xray:*"}), "either Action or NotAction"),
        (policy(ALLOW | {"Action": []}), "Action"),
        (policy(ALLOW | {"Action": "PutTraceSegments"}), "<service>:<operation>"),
        (policy(ALLOW | {"Resource": 5}), "Resource"),
        (policy(ALLOW | {"Condition": {"StringEquals": "x"}}), "Condition"),
        (json.dumps({"Version": "2012-10-17", "Statement": ["x"]}), "Statement 1 must be an object"),
    ],
)
def test_a_malformed_policy_says_what_is_wrong(xray: Any, document: str, words: str) -> None:
    refused(lambda: xray.put_resource_policy(PolicyName="bad", PolicyDocument=document), "MalformedPolicyDocumentException", words)


@pytest.mark.parametrize(
    ("statement", "locks"),
    [
        ({"Principal": "*", "Action": "*"}, True),
        ({"Principal": {"AWS": ["arn:aws:iam::123456789012:root"]}, "Action": "xray:Put*"}, True),
        ({"Principal": {"AWS": "123456789012"}, "NotAction": "xray:Get*"}, True),
        ({"NotPrincipal": {"AWS": "arn:aws:iam::210987654321:root"}, "Action": "xray:PutResourcePolicy"}, True),
        ({"Principal": {"AWS": "arn:aws:iam::210987654321:root"}, "Action": "*"}, False),
        ({"Principal": {"Service": "sns.amazonaws.com"}, "Action": "*"}, False),
        ({"Principal": "*", "Action": "xray:PutTraceSegments"}, False),
        ({"Principal": "*", "Action": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}, False),
        ({"Principal": "*", "Action": "*", "Resource": "arn:aws:xray:us-east-1:123456789012:group/a"}, False),
    ],
)
def test_a_policy_that_locks_its_owner_out_needs_the_bypass(xray: Any, statement: dict[str, Any], locks: bool) -> None:
    document = policy({"Effect": "Deny", "Resource": "*"} | statement)
    if locks:
        refused(lambda: xray.put_resource_policy(PolicyName="deny", PolicyDocument=document), "LockoutPreventionException", "Bypass")
    xray.put_resource_policy(PolicyName="deny", PolicyDocument=document, BypassPolicyLockoutCheck=locks)
    xray.delete_resource_policy(PolicyName="deny")


# -- tags


def test_tags_of_a_group(xray: Any) -> None:
    arn = xray.create_group(GroupName="tagged", Tags=[{"Key": "a", "Value": "1"}])["Group"]["GroupARN"]

    def tags() -> dict[str, str]:
        return {one["Key"]: one["Value"] for one in xray.list_tags_for_resource(ResourceARN=arn)["Tags"]}

    xray.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "ü: b", "Value": ""}])
    assert tags() == {"a": "2", "ü: b": ""}
    xray.untag_resource(ResourceARN=arn, TagKeys=["a", "never there"])
    assert tags() == {"ü: b": ""}
    many = [{"Key": f"k{number}", "Value": "v"} for number in range(50)]
    refused(lambda: xray.tag_resource(ResourceARN=arn, Tags=many), "TooManyTagsException", "50")
    for bad in ({"Key": "aws:x", "Value": "v"}, {"Key": "k?", "Value": "v"}, {"Key": "k", "Value": "v?"}):
        refused(lambda bad=bad: xray.tag_resource(ResourceARN=arn, Tags=[bad]), "InvalidRequestException", bad["Key"])
    twice = [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]
    refused(lambda: xray.tag_resource(ResourceARN=arn, Tags=twice), "InvalidRequestException", "twice")
    refused(lambda: xray.untag_resource(ResourceARN=arn, TagKeys=["aws:x"]), "InvalidRequestException", "reserved")
    refused(lambda: xray.list_tags_for_resource(ResourceARN=arn, NextToken="x"), "InvalidRequestException", "NextToken")
    unknown = arn + "0"
    refused(lambda: xray.list_tags_for_resource(ResourceARN=unknown), "ResourceNotFoundException", unknown, 404)
    refused(lambda: xray.tag_resource(ResourceARN=unknown, Tags=twice), "ResourceNotFoundException", unknown, 404)
    refused(lambda: xray.untag_resource(ResourceARN=unknown, TagKeys=["a"]), "ResourceNotFoundException", unknown, 404)
    with pytest.raises(xray.exceptions.TooManyTagsException) as refusal:
        xray.tag_resource(ResourceARN=arn, Tags=many)
    assert refusal.value.response["ResourceName"] == arn
    with pytest.raises(xray.exceptions.ResourceNotFoundException) as refusal:
        xray.list_tags_for_resource(ResourceARN=unknown)
    assert refusal.value.response["ResourceName"] == unknown
    assert tags() == {"ü: b": ""}


# -- all of it


def test_it_is_there_after_a_restart_and_after_a_crash(tmp_path: Path) -> None:
    with start_vendor("aws", tmp_path) as vendor:
        xray = client(vendor, "xray")
        xray.put_encryption_config(Type="KMS", KeyId=KEY)
        xray.update_trace_segment_destination(Destination="CloudWatchLogs")
        xray.update_indexing_rule(Name="Default", Rule={"Probabilistic": {"DesiredSamplingPercentage": 50}})
        made = xray.put_resource_policy(PolicyName="sns", PolicyDocument=policy(ALLOW))["ResourcePolicy"]
        rule = xray.get_indexing_rules()["IndexingRules"]
        for end in (vendor.stop, vendor.kill):
            end()
            vendor.start()
            xray = client(vendor, "xray")
            assert xray.get_encryption_config()["EncryptionConfig"]["KeyId"] == KEY_ARN
            assert xray.get_trace_segment_destination()["Destination"] == "CloudWatchLogs"
            assert xray.get_indexing_rules()["IndexingRules"] == rule
            assert xray.list_resource_policies()["ResourcePolicies"] == [made]
