"""Sampling rules, and the targets that split a rule's reservoir among the clients that use it.

Source: "Configuring sampling rules" and "Using X-Ray service sampling with the REST API" in the X-Ray developer guide, and the API
reference of GetSamplingTargets. Rules are only stored here; clients match requests against them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import orjson

from localstack.aws import tags
from localstack.aws.accounts import ACCOUNT_ID
from localstack.aws.errors import AwsError, not_implemented
from localstack.store import Store

SCHEMA = (
    "CREATE TABLE sampling_rule (name VARCHAR PRIMARY KEY, rule VARCHAR NOT NULL, created DOUBLE NOT NULL, modified DOUBLE NOT NULL)",
    "CREATE TABLE sampling_change (changed DOUBLE NOT NULL)",
    """CREATE TABLE sampling_statistic (
        rule_name VARCHAR NOT NULL, client_id VARCHAR NOT NULL, reported DOUBLE NOT NULL, received DOUBLE NOT NULL,
        requests BIGINT NOT NULL, sampled BIGINT NOT NULL, borrowed BIGINT NOT NULL
    )""",
)

DEFAULT_RULE = "Default"
MAX_RULES = 25

#: Seconds after which a client shall report again.
INTERVAL_SECONDS = 10
#: A client that reported this long ago still holds its share: reports come every INTERVAL_SECONDS and a little.
CLIENT_SECONDS = 2 * INTERVAL_SECONDS
#: How long a quota is good for: over the next report, so that there is no gap.
QUOTA_SECONDS = 2 * INTERVAL_SECONDS
#: Statistics are summed up over windows of this length, and kept for that long.
SUMMARY_SECONDS = 10
STATISTICS_SECONDS = 24 * 3600

#: What a rule may not leave to the service model, where the member's type says nothing.
_RANGES = {"Priority": (1, 9999), "FixedRate": (0, 1), "ReservoirSize": (0, 2**31 - 1)}


@dataclass(frozen=True)
class Rule:
    """A sampling rule: ``members`` as in the API's SamplingRule, times in epoch seconds."""

    members: dict[str, Any]
    created: float
    modified: float


@dataclass(frozen=True)
class Targets:
    """What GetSamplingTargets answers: documents, time of the last change of a rule, and the statistics it could not use."""

    documents: list[dict[str, Any]]
    last_modification: float
    unprocessed: list[dict[str, str]]


class Sampling:
    """Sampling rules and statistics of one account in one region."""

    def __init__(self, store: Store, region: str) -> None:
        self._store = store
        self._arn = f"arn:aws:xray:{region}:{ACCOUNT_ID}:sampling-rule/"
        if not store.read("SELECT 1 FROM sampling_rule WHERE name = ?", [DEFAULT_RULE]):
            members = {
                "RuleName": DEFAULT_RULE,
                "RuleARN": self._arn + DEFAULT_RULE,
                "ResourceARN": "*",
                "Priority": 10000,
                "FixedRate": 0.05,
                "ReservoirSize": 1,
                **dict.fromkeys(("ServiceName", "ServiceType", "Host", "HTTPMethod", "URLPath"), "*"),
                "Version": 1,
                "Attributes": {},
            }
            store.transact(lambda db: _write(db, Rule(members, 0.0, 0.0)))

    def rules(self) -> list[Rule]:
        """Every rule in the order clients try them: by priority, then name."""
        rules = [_rule(row) for row in self._store.read("SELECT rule, created, modified FROM sampling_rule")]
        return sorted(rules, key=lambda rule: (rule.members["Priority"], rule.members["RuleName"]))

    def create(self, members: Mapping[str, Any], tagged: Mapping[str, str]) -> Rule:
        if members["Version"] != 1:
            raise AwsError("InvalidRequestException", f"Version must be 1, not {members['Version']}")
        if "RuleARN" in members:
            raise AwsError("InvalidRequestException", "RuleARN is given by X-Ray; a new rule has a RuleName")
        name = members.get("RuleName")
        if not name:
            raise AwsError("InvalidRequestException", "RuleName is required")
        _check(members)
        now = time.time()
        arn = self._arn + str(name)
        rule = Rule({"Attributes": {}, **members, "RuleARN": arn}, now, now)

        def work(db: duckdb.DuckDBPyConnection) -> None:
            if _named(db, str(name)):
                raise AwsError("InvalidRequestException", f"A sampling rule named {name} already exists")
            ((count,),) = db.execute("SELECT count(*) FROM sampling_rule WHERE name <> ?", [DEFAULT_RULE]).fetchall()
            if count >= MAX_RULES:
                raise AwsError("RuleLimitExceededException", f"There are {MAX_RULES} sampling rules already")
            _write(db, rule)
            _changed(db, now)
            if tagged:
                tags.change(db, arn, dict(tagged))

        self._store.transact(work)
        return rule

    def update(self, changes: Mapping[str, Any]) -> Rule:
        """Change the members given. Of the default rule only FixedRate and ReservoirSize."""
        name = self._addressed(changes)
        _check(changes)

        def work(db: duckdb.DuckDBPyConnection) -> Rule:
            rule = _existing(db, name)
            new = {key: value for key, value in changes.items() if key not in ("RuleName", "RuleARN")}
            if name == DEFAULT_RULE and (fixed := sorted(set(new) - {"FixedRate", "ReservoirSize"})):
                raise AwsError(
                    "InvalidRequestException", f"Of the default rule only FixedRate and ReservoirSize can change, not {', '.join(fixed)}"
                )
            updated = Rule(rule.members | new, rule.created, time.time())
            _write(db, updated)
            _changed(db, updated.modified)
            return updated

        return self._store.transact(work)

    def delete(self, address: Mapping[str, Any]) -> Rule:
        name = self._addressed(address)
        if name == DEFAULT_RULE:
            raise AwsError("InvalidRequestException", "The default rule cannot be deleted")

        def work(db: duckdb.DuckDBPyConnection) -> Rule:
            rule = _existing(db, name)
            db.execute("DELETE FROM sampling_rule WHERE name = ?", [name])
            db.execute("DELETE FROM sampling_statistic WHERE rule_name = ?", [name])
            tags.forget(db, rule.members["RuleARN"])
            _changed(db, time.time())
            return rule

        return self._store.transact(work)

    def targets(self, statistics: Sequence[Mapping[str, Any]]) -> Targets:
        """Take what clients report of their sampling, and answer each with its quota for the next interval.

        A rule's reservoir is shared evenly among the clients that reported in the last interval; where it does not divide,
        the first clients by id get one more, so that the shares add up to the reservoir.
        """
        now = time.time()

        def work(db: duckdb.DuckDBPyConnection) -> Targets:
            db.execute("DELETE FROM sampling_statistic WHERE received < ?", [now - STATISTICS_SECONDS])
            rules = {rule.members["RuleName"]: rule for rule in _all(db)}
            unprocessed = []
            known = []
            for entry in statistics:
                if entry["RuleName"] not in rules:
                    unprocessed.append({"RuleName": entry["RuleName"], "ErrorCode": "404", "Message": "There is no such sampling rule"})
                    continue
                known.append(entry)
                db.execute(
                    "INSERT INTO sampling_statistic VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        entry["RuleName"],
                        entry["ClientID"],
                        entry["Timestamp"],
                        now,
                        entry["RequestCount"],
                        entry["SampledCount"],
                        entry.get("BorrowCount", 0),
                    ],
                )
            documents = []
            for entry in known:
                members = rules[entry["RuleName"]].members
                rows = db.execute(
                    "SELECT DISTINCT client_id FROM sampling_statistic WHERE rule_name = ? AND received > ? ORDER BY client_id",
                    [entry["RuleName"], now - CLIENT_SECONDS],
                ).fetchall()
                clients = [row[0] for row in rows]
                share, rest = divmod(members["ReservoirSize"], len(clients))
                documents.append(
                    {
                        "RuleName": entry["RuleName"],
                        "FixedRate": members["FixedRate"],
                        "ReservoirQuota": share + (clients.index(entry["ClientID"]) < rest),
                        "ReservoirQuotaTTL": int(now) + QUOTA_SECONDS,
                        "Interval": INTERVAL_SECONDS,
                    }
                )
            ((modified,),) = db.execute("SELECT coalesce(max(changed), 0) FROM sampling_change").fetchall()
            return Targets(documents, modified, unprocessed)

        return self._store.transact(work)

    def statistics(self) -> list[dict[str, Any]]:
        """What clients reported, summed up by rule and time."""
        rows = self._store.read(
            f"""SELECT rule_name, floor(reported / {SUMMARY_SECONDS}) * {SUMMARY_SECONDS} AS slot,
                       sum(requests), sum(borrowed), sum(sampled)
                FROM sampling_statistic GROUP BY ALL ORDER BY slot, rule_name"""
        )
        return [
            {"RuleName": name, "Timestamp": slot, "RequestCount": int(requests), "BorrowCount": int(borrowed), "SampledCount": int(sampled)}
            for name, slot, requests, borrowed, sampled in rows
        ]

    def has(self, arn: str) -> bool:
        """Whether ``arn`` is a rule's."""
        return arn.startswith(self._arn) and bool(
            self._store.read("SELECT 1 FROM sampling_rule WHERE name = ?", [arn.removeprefix(self._arn)])
        )

    def _addressed(self, members: Mapping[str, Any]) -> str:
        """The rule's name from RuleName or RuleARN, of which a call gives one."""
        name, arn = members.get("RuleName"), members.get("RuleARN")
        if bool(name) == bool(arn):
            raise AwsError("InvalidRequestException", "Give either RuleName or RuleARN")
        return str(name) if name else str(arn).removeprefix(self._arn)


def _check(members: Mapping[str, Any]) -> None:
    if "SamplingRateBoost" in members:
        raise not_implemented("SamplingRateBoost (adaptive sampling)")
    for key, (low, high) in _RANGES.items():
        if key in members and not low <= members[key] <= high:
            raise AwsError("InvalidRequestException", f"{key} must be between {low} and {high}, not {members[key]}")


def _rule(row: Sequence[Any]) -> Rule:
    return Rule(orjson.loads(row[0]), row[1], row[2])


def _all(db: duckdb.DuckDBPyConnection) -> list[Rule]:
    return [_rule(row) for row in db.execute("SELECT rule, created, modified FROM sampling_rule").fetchall()]


def _named(db: duckdb.DuckDBPyConnection, name: str) -> list[Rule]:
    return [_rule(row) for row in db.execute("SELECT rule, created, modified FROM sampling_rule WHERE name = ?", [name]).fetchall()]


def _existing(db: duckdb.DuckDBPyConnection, name: str) -> Rule:
    rules = _named(db, name)
    if not rules:
        raise AwsError("InvalidRequestException", f"There is no sampling rule {name}")
    return rules[0]


def _write(db: duckdb.DuckDBPyConnection, rule: Rule) -> None:
    db.execute(
        "INSERT OR REPLACE INTO sampling_rule VALUES (?, ?, ?, ?)",
        [rule.members["RuleName"], orjson.dumps(rule.members).decode(), rule.created, rule.modified],
    )


def _changed(db: duckdb.DuckDBPyConnection, now: float) -> None:
    """Remember when the rules last changed; a rule that is gone leaves no other trace of its going."""
    db.execute("DELETE FROM sampling_change")
    db.execute("INSERT INTO sampling_change VALUES (?)", [now])
