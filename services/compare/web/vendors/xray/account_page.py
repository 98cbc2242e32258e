"""``/vendors/xray/account``: what holds for the whole account: encryption, where spans go, indexing, policies."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from services.compare.readers.base import mapping
from services.compare.web.vendors.xray.client import epoch
from services.compare.web.vendors.xray.frame import ask, blueprint, console, page
from services.compare.web.vendors.xray.segments import pretty


@blueprint.get("/account")
def account() -> tuple[str, int]:
    encryption = ask(lambda xray: xray.encryption())
    indexing = ask(lambda xray: xray.indexing_rules())
    policies = ask(lambda xray: xray.policies())
    return page(
        "account.html",
        "account",
        encryption.status,
        encryption=encryption,
        destination=ask(lambda xray: xray.destination()),
        indexing=indexing,
        indexing_rules=[_indexing(each) for each in indexing.value.entries] if indexing.value else [],
        policies=policies,
        policy_documents=[_policy(each) for each in policies.value.entries] if policies.value else [],
        console=console("settings/encryption"),
    )


def _indexing(rule: Mapping[str, Any]) -> dict[str, Any]:
    probabilistic = mapping(mapping(rule.get("Rule")).get("Probabilistic"))
    return {
        "name": str(rule.get("Name") or ""),
        "desired": probabilistic.get("DesiredSamplingPercentage"),
        "actual": probabilistic.get("ActualSamplingPercentage"),
        "modified": epoch(rule.get("ModifiedAt")),
    }


def _policy(policy: Mapping[str, Any]) -> dict[str, Any]:
    text = str(policy.get("PolicyDocument") or "")
    # What is no JSON stays as it is.
    with contextlib.suppress(ValueError, RecursionError):
        text = pretty(json.loads(text))
    return {
        "name": str(policy.get("PolicyName") or ""),
        "revision": str(policy.get("PolicyRevisionId") or ""),
        "updated": epoch(policy.get("LastUpdatedTime")),
        "text": text,
    }
