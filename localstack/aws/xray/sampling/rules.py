"""Sampling rules, and the targets that split a rule's reservoir among the clients that use it.

Source: "Configuring sampling rules", "Using X-Ray service sampling with the REST API" and "Configuring adaptive sampling" in the X-Ray
developer guide, and the API reference of GetSamplingTargets. Rules are only stored here; clients match requests against them.

How X-Ray divides a reservoir and when it boosts a rate it does not say; see :mod:`localstack.aws.xray.sampling.quotas`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import orjson

from localstack.aws import tags
from localstack.aws.accounts import ACCOUNT_ID
from localstack.aws.errors import AwsError
from localstack.aws.xray.sampling.quotas import INTERVAL_SECONDS, boost_rate, shares
from localstack.store import Store

SCHEMA = (
    "CREATE TABLE sampling_rule (name VARCHAR PRIMARY KEY, rule VARCHAR NOT NULL, created DOUBLE NOT NULL, modified DOUBLE NOT NULL)",
    "CREATE TABLE sampling_change (changed DOUBLE NOT NULL)",
    """CREATE TABLE sampling_statistic (
        rule_name VARCHAR NOT NULL, client_id VARCHAR NOT NULL, reported DOUBLE NOT NULL, received DOUBLE NOT NULL,
        requests BIGINT NOT NULL, sampled BIGINT NOT NULL, borrowed BIGINT NOT NULL
    )""",
)

#: Adaptive sampling came later than the tables above, which files already have.
BOOST_SCHEMA = (
    """CREATE TABLE sampling_anomaly (
        rule_name VARCHAR NOT NULL, service_name VARCHAR NOT NULL, received DOUBLE NOT NULL,
        anomalies BIGINT NOT NULL, sampled BIGINT NOT NULL
    )""",
    "CREATE TABLE sampling_boost (rule_name VARCHAR PRIMARY KEY, rate DOUBLE NOT NULL, began DOUBLE NOT NULL, ends DOUBLE NOT NULL)",
)

DEFAULT_RULE = "Default"
MAX_RULES = 25

#: A client that reported this long ago still holds its share: reports come every INTERVAL_SECONDS and a little.
CLIENT_SECONDS = 2 * INTERVAL_SECONDS
#: How long a quota is good for: over the next report, so that there is no gap.
QUOTA_SECONDS = 2 * INTERVAL_SECONDS
#: Statistics are summed up over windows of this length: "for a 10-second window".
SUMMARY_SECONDS = 10
#: How long they are kept.
STATISTICS_SECONDS = 24 * 3600
#: How far ahead a client's clock may be, as for signatures; what it reports later than that has no place in a window.
CLOCK_SECONDS = 300

#: "Brief sampling boosts (up to 1 minute)".
BOOST_SECONDS = 60

#: What a rule may not leave to the service model, where the member's type says nothing.
_RANGES = {"Priority": (1, 9999), "FixedRate": (0, 1), "ReservoirSize": (0, 2**31 - 1)}

_BOOST = "SamplingRateBoost"
_DEFAULT_CHANGES = frozenset({"FixedRate", "ReservoirSize", _BOOST})


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
    unprocessed_boosts: list[dict[str, str]] = field(default_factory=list)


class Sampling:
    """Sampling rules and statistics of one account in one region."""

    def __init__(self, store: Store, region: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
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
        if not str(name).isprintable() or str(name) != str(name).strip():
            raise AwsError("InvalidRequestException", "RuleName must be printable, without white space around it")
        _check(members)
        arn = self._arn + str(name)

        def work(db: duckdb.DuckDBPyConnection) -> Rule:
            # Read in here, where one change comes after the other: a later one must not bear an earlier time.
            now = self._clock()
            rule = Rule({"Attributes": {}, **members, "RuleARN": arn}, now, now)
            if _named(db, str(name)):
                raise AwsError("InvalidRequestException", f"A sampling rule named {name} already exists")
            ((count,),) = db.execute("SELECT count(*) FROM sampling_rule WHERE name <> ?", [DEFAULT_RULE]).fetchall()
            if count >= MAX_RULES:
                raise AwsError("RuleLimitExceededException", f"There are {MAX_RULES} sampling rules already")
            _write(db, rule)
            _changed(db, now)
            if tagged:
                tags.change(db, arn, dict(tagged))
            return rule

        try:
            return self._store.transact(work)
        except tags.TooManyTags:
            raise AwsError("InvalidRequestException", f"Tags: a resource has at most {tags.MAX_TAGS}") from None

    def update(self, changes: Mapping[str, Any]) -> Rule:
        """Change the members given. Of the default rule only how much it samples: "you can configure the rate and reservoir"."""
        name = self._addressed(changes)
        _check(changes)

        def work(db: duckdb.DuckDBPyConnection) -> Rule:
            rule = _existing(db, name)
            new = {key: value for key, value in changes.items() if key not in ("RuleName", "RuleARN")}
            if name == DEFAULT_RULE and (fixed := sorted(set(new) - _DEFAULT_CHANGES)):
                raise AwsError(
                    "InvalidRequestException",
                    f"Of the default rule only {', '.join(sorted(_DEFAULT_CHANGES))} can change, not {', '.join(fixed)}",
                )
            updated = Rule(rule.members | new, rule.created, self._clock())
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
            for table in ("sampling_statistic", "sampling_anomaly", "sampling_boost"):
                db.execute(f"DELETE FROM {table} WHERE rule_name = ?", [name])
            tags.forget(db, rule.members["RuleARN"])
            _changed(db, self._clock())
            return rule

        return self._store.transact(work)

    def targets(self, statistics: Sequence[Mapping[str, Any]], boosts: Sequence[Mapping[str, Any]] = ()) -> Targets:
        """Take what clients report of their sampling, and answer each with its quota for the next interval.

        ``statistics``, ``boosts``: SamplingStatisticsDocuments and SamplingBoostStatisticsDocuments of the API. A rule's reservoir
        is shared among the clients that reported within CLIENT_SECONDS, see ``quotas.shares``; a client that goes away is
        forgotten when the quota it was last given has expired, so that the quotas that count never add up to more.
        """
        now = self._clock()

        def work(db: duckdb.DuckDBPyConnection) -> Targets:
            for table in ("sampling_statistic", "sampling_anomaly"):
                db.execute(f"DELETE FROM {table} WHERE received < ?", [now - STATISTICS_SECONDS])
            rules = {rule.members["RuleName"]: rule.members for rule in _all(db)}
            known, unprocessed = _sort_out(statistics, rules, now)
            boosted, unprocessed_boosts = _sort_out(boosts, {name: rule for name, rule in rules.items() if _BOOST in rule}, now)
            for entry in known:
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
            for entry in boosted:
                db.execute(
                    "INSERT INTO sampling_anomaly VALUES (?, ?, ?, ?, ?)",
                    [entry["RuleName"], entry["ServiceName"], now, entry["AnomalyCount"], entry["SampledAnomalyCount"]],
                )
            for name in dict.fromkeys(entry["RuleName"] for entry in boosted):
                _trigger_boost(db, rules[name], now)
            documents = [_target(db, rules[entry["RuleName"]], entry["ClientID"], now) for entry in known]
            ((modified,),) = db.execute("SELECT coalesce(max(changed), 0) FROM sampling_change").fetchall()
            # The X-Ray SDK compares whole seconds: a change in the second in which it fetched the rules would escape it until the
            # next fetch, five minutes on. A second later, what it fetches anew at worst is what it has.
            return Targets(documents, modified + 1, unprocessed, unprocessed_boosts)

        return self._store.transact(work)

    def statistics(self, after: tuple[float, str] | None, limit: int) -> list[dict[str, Any]]:
        """What clients reported, summed up by rule and window of SUMMARY_SECONDS, oldest first.

        ``after``: time and rule of the last summary of the page before; pages stay in place while clients report.
        """
        slot, rule = after or (-math.inf, "")
        rows = self._store.read(
            f"""SELECT rule_name, floor(reported / {SUMMARY_SECONDS}) * {SUMMARY_SECONDS} AS slot,
                       sum(requests), sum(borrowed), sum(sampled)
                FROM sampling_statistic WHERE received >= $since
                GROUP BY rule_name, slot HAVING slot > $slot OR (slot = $slot AND rule_name > $rule)
                ORDER BY slot, rule_name LIMIT {int(limit)}""",
            {"since": self._clock() - STATISTICS_SECONDS, "slot": slot, "rule": rule},
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
        if name:
            return str(name)
        if not str(arn).startswith(self._arn):
            raise AwsError("InvalidRequestException", f"RuleARN {arn} is not that of a sampling rule; it begins with {self._arn}")
        return str(arn).removeprefix(self._arn)


def _sort_out(
    entries: Sequence[Mapping[str, Any]], rules: Mapping[str, Any], now: float
) -> tuple[list[Mapping[str, Any]], list[dict[str, str]]]:
    """The statistics that can be used, and UnprocessedStatistics for the rest."""
    known: list[Mapping[str, Any]] = []
    unprocessed: list[dict[str, str]] = []
    for entry in entries:
        name = entry["RuleName"]
        if name not in rules:
            unprocessed.append({"RuleName": name, "ErrorCode": "404", "Message": f"There is no such sampling rule: {name}"})
        elif not now - STATISTICS_SECONDS <= entry["Timestamp"] <= now + CLOCK_SECONDS:
            unprocessed.append({"RuleName": name, "ErrorCode": "400", "Message": f"Timestamp {entry['Timestamp']} is not the current time"})
        else:
            known.append(entry)
    return known, unprocessed


def _target(db: duckdb.DuckDBPyConnection, rule: Mapping[str, Any], client: str, now: float) -> dict[str, Any]:
    """The SamplingTargetDocument of a client that has just reported."""
    rows = db.execute(
        "SELECT client_id, max(requests) FROM sampling_statistic WHERE rule_name = ? AND received > ? GROUP BY client_id",
        [rule["RuleName"], now - CLIENT_SECONDS],
    ).fetchall()
    quotas = shares(rule["ReservoirSize"], {one: math.ceil(requests / INTERVAL_SECONDS) for one, requests in rows})
    target = {
        "RuleName": rule["RuleName"],
        "FixedRate": rule["FixedRate"],
        "ReservoirQuota": quotas[client],
        "ReservoirQuotaTTL": int(now) + QUOTA_SECONDS,
        "Interval": INTERVAL_SECONDS,
    }
    boosts = db.execute("SELECT rate, ends FROM sampling_boost WHERE rule_name = ? AND ends > ?", [rule["RuleName"], now]).fetchall()
    if boosts and _BOOST in rule:
        # MaxRate may have been lowered since the boost began.
        target["SamplingBoost"] = {"BoostRate": min(boosts[0][0], rule[_BOOST]["MaxRate"]), "BoostRateTTL": boosts[0][1]}
    return target


def _trigger_boost(db: duckdb.DuckDBPyConnection, rule: Mapping[str, Any], now: float) -> None:
    """Begin a boost of the rule, for all its clients, where the last interval's anomalies call for one and the window allows it."""
    settings = rule[_BOOST]
    last = db.execute("SELECT began, ends FROM sampling_boost WHERE rule_name = ?", [rule["RuleName"]]).fetchall()
    if last and now < max(last[0][0] + settings["CooldownWindowMinutes"] * 60, last[0][1]):
        return
    ((anomalies, sampled),) = db.execute(
        "SELECT coalesce(sum(anomalies), 0), coalesce(sum(sampled), 0) FROM sampling_anomaly WHERE rule_name = ? AND received > ?",
        [rule["RuleName"], now - INTERVAL_SECONDS],
    ).fetchall()
    rate = boost_rate(rule["FixedRate"], settings["MaxRate"], int(anomalies), int(sampled))
    if rate is not None:
        db.execute("INSERT OR REPLACE INTO sampling_boost VALUES (?, ?, ?, ?)", [rule["RuleName"], rate, now, now + BOOST_SECONDS])


def _check(members: Mapping[str, Any]) -> None:
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
