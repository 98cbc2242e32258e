"""Resource policies: which AWS services and accounts may use X-Ray. They are checked, kept and told; nothing here obeys them.

Sources: the API reference of PutResourcePolicy and DeleteResourcePolicy; "Grammar of the IAM JSON policy language" in the IAM
user guide for what a policy document may hold.
"""

from __future__ import annotations

import fnmatch
import re
import time
from typing import Any

import duckdb
import orjson

from localstack.aws.accounts import ACCOUNT_ID
from localstack.aws.errors import AwsError
from localstack.store import Store

SCHEMA = (
    "CREATE TABLE xray_policy (name VARCHAR PRIMARY KEY, document VARCHAR NOT NULL, revision BIGINT NOT NULL, updated DOUBLE NOT NULL)",
)

#: "The maximum size of each resource policy is 5KB."
MAX_BYTES = 5 * 1024
#: "Each Amazon Web Services account can have a maximum of 5 resource policies."
MAX_POLICIES = 5

_VERSIONS = ("2012-10-17", "2008-10-17")
_ACTION = re.compile(r"\*|[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+")
_PRINCIPALS = ("AWS", "Service", "Federated", "CanonicalUser")
_STATEMENT = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"},
)


class Policies:
    """The resource policies of one account in one region; members as in the API's ResourcePolicy."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[dict[str, Any]]:
        """Every policy by name."""
        rows = self._store.read("SELECT name, document, revision, updated FROM xray_policy ORDER BY name")
        return [_members(*row) for row in rows]

    def put(self, name: str, document: str, revision: str | None, bypass_lockout_check: bool) -> dict[str, Any]:
        """Create a policy or replace it; revisions count from 1. ``revision`` "0": only create."""
        size = len(document.encode())
        if size > MAX_BYTES:
            raise AwsError("PolicySizeLimitExceededException", f"PolicyDocument has {size} bytes, the limit is {MAX_BYTES}")
        statements = check_document(document)
        if not bypass_lockout_check and any(_locks_out(statement) for statement in statements):
            raise AwsError(
                "LockoutPreventionException",
                "The policy denies xray:PutResourcePolicy to the account that puts it; with BypassPolicyLockoutCheck it is taken",
            )
        now = time.time()

        def work(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
            latest = _revision(db, name)
            _check_revision(name, latest, revision)
            if latest is None:
                ((count,),) = db.execute("SELECT count(*) FROM xray_policy").fetchall()
                if count >= MAX_POLICIES:
                    raise AwsError("PolicyCountLimitExceededException", f"There are {MAX_POLICIES} resource policies already")
            row = (name, document, (latest or 0) + 1, now)
            db.execute("INSERT OR REPLACE INTO xray_policy VALUES (?, ?, ?, ?)", list(row))
            return _members(*row)

        return self._store.transact(work)

    def delete(self, name: str, revision: str | None) -> None:
        def work(db: duckdb.DuckDBPyConnection) -> None:
            latest = _revision(db, name)
            if latest is None:
                raise AwsError("InvalidRequestException", f"There is no resource policy {name}")
            if revision is not None and revision != str(latest):
                raise _wrong_revision(name, revision, latest)
            db.execute("DELETE FROM xray_policy WHERE name = ?", [name])

        self._store.transact(work)


def _members(name: str, document: str, revision: int, updated: float) -> dict[str, Any]:
    return {"PolicyName": name, "PolicyDocument": document, "PolicyRevisionId": str(revision), "LastUpdatedTime": updated}


def _revision(db: duckdb.DuckDBPyConnection, name: str) -> int | None:
    rows = db.execute("SELECT revision FROM xray_policy WHERE name = ?", [name]).fetchall()
    return int(rows[0][0]) if rows else None


def _check_revision(name: str, latest: int | None, given: str | None) -> None:
    if given is None or (latest is None and given == "0"):
        return
    if latest is None:
        raise AwsError("InvalidPolicyRevisionIdException", f"There is no resource policy {name}, so it has no revision '{given[:100]}'")
    if given != str(latest):
        raise _wrong_revision(name, given, latest)


def _wrong_revision(name: str, given: str, latest: int) -> AwsError:
    why = f"{name} exists already" if given == "0" else f"'{given[:100]}' is not the latest one"
    return AwsError("InvalidPolicyRevisionIdException", f"PolicyRevisionId: {why}; {name} is at revision {latest}")


# -- the document


def check_document(document: str) -> list[dict[str, Any]]:
    """The statements of a policy document. Raises MalformedPolicyDocumentException that says what is wrong and where."""
    try:
        policy = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise _malformed(f"it is not JSON: {error}") from None
    if not isinstance(policy, dict):
        raise _malformed("it must be a JSON object")
    _only(policy, {"Version", "Id", "Statement"}, "the policy")
    if "Version" in policy and policy["Version"] not in _VERSIONS:
        raise _malformed(f"Version must be one of {', '.join(_VERSIONS)}")
    if not isinstance(policy.get("Id", ""), str):
        raise _malformed("Id must be a string")
    statements = policy.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise _malformed("Statement must be an object or a list of at least one")
    for number, statement in enumerate(statements, 1):
        _check_statement(statement, f"Statement {number}")
    return statements


def _check_statement(statement: Any, where: str) -> None:
    if not isinstance(statement, dict):
        raise _malformed(f"{where} must be an object")
    _only(statement, _STATEMENT, where)
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise _malformed(f"Effect of {where} must be Allow or Deny")
    if not isinstance(statement.get("Sid", ""), str):
        raise _malformed(f"Sid of {where} must be a string")
    for kind in ("Principal", "Action"):
        if (kind in statement) == (f"Not{kind}" in statement):
            raise _malformed(f"{where} must have either {kind} or Not{kind}")
    if "Resource" in statement and "NotResource" in statement:
        raise _malformed(f"{where} must not have both Resource and NotResource")
    _check_principal(statement["Principal"] if "Principal" in statement else statement["NotPrincipal"], where)
    for action in _texts(statement, "Action", where) + _texts(statement, "NotAction", where):
        if not _ACTION.fullmatch(action):
            raise _malformed(f"Action '{action[:100]}' of {where} must be * or <service>:<operation>")
    _texts(statement, "Resource", where)
    _texts(statement, "NotResource", where)
    condition = statement.get("Condition", {})
    if not isinstance(condition, dict) or not all(isinstance(keys, dict) for keys in condition.values()):
        raise _malformed(f"Condition of {where} must be an object of operators, each an object of keys")


def _check_principal(principal: Any, where: str) -> None:
    if principal == "*":
        return
    if not isinstance(principal, dict) or not principal:
        raise _malformed(f"Principal of {where} must be * or an object")
    _only(principal, _PRINCIPALS, f"Principal of {where}")
    for kind in principal:
        _texts(principal, kind, where)


def _texts(owner: dict[str, Any], key: str, where: str) -> list[str]:
    """A member that is a string or a list of strings, as a list; empty where it is absent."""
    if key not in owner:
        return []
    value = owner[key]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise _malformed(f"{key} of {where} must be a string or a list of at least one")
    return texts


def _only(owner: dict[str, Any], known: Any, where: str) -> None:
    for key in owner:
        if key not in known:
            raise _malformed(f"{where} must not have '{key[:100]}'")


def _malformed(why: str) -> AwsError:
    return AwsError("MalformedPolicyDocumentException", f"PolicyDocument is malformed: {why}")


def _locks_out(statement: dict[str, Any]) -> bool:
    """Whether a statement keeps the account from PutResourcePolicy. Ours, as AWS does not document its check.

    A Deny that covers the action, the account (``*``, its id, or anything of it: any ARN that names it) and all resources. What
    depends on a Condition is not foreseen, and does not count.
    """
    if statement["Effect"] != "Deny" or "Condition" in statement:
        return False
    action = any(_matches(pattern, "xray:PutResourcePolicy") for pattern in _as_list(statement.get("Action", statement.get("NotAction"))))
    if action != ("Action" in statement):
        return False
    if "NotResource" in statement or "*" not in _as_list(statement.get("Resource", "*")):
        return False
    principal: Any = statement["Principal"] if "Principal" in statement else statement["NotPrincipal"]
    accounts = ["*"] if principal == "*" else _as_list(principal.get("AWS", []))
    named = any(account in ("*", ACCOUNT_ID) or f":{ACCOUNT_ID}:" in account for account in accounts)
    return named == ("Principal" in statement)


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _matches(pattern: str, action: str) -> bool:
    return fnmatch.fnmatchcase(action.lower(), pattern.lower())
