"""Two records in, checks out: each compares one measure of the later run with the earlier one's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from compose.settings import SignalPath
from services.compare.differences.losses import Loss, losses
from services.compare.differences.quantiles import Quantile, ranks
from services.compare.differences.thresholds import Longer, Thresholds
from services.compare.model import DIFFERS, Verdict
from services.compare.record import Record
from services.compare.report import ALL_AS_EXPECTED, COULD_NOT_COMPARE, SOMETHING_DIFFERS

#: Quantiles that are compared.
QUANTILES: Final = (0.5, 0.9, 0.99)
#: What the client measured, beside the paths.
CLIENT: Final = "client"

#: Share of a cost whose change says nothing: log lines hold times and ids of differing length.
NEGLIGIBLE: Final = 0.005

Kind = Literal["slower", "later", "lost", "cost", "read"]
Unit = Literal["ms", "s", "share", "usd", "units", ""]
Result = Literal["same", "worse", "better", "exceeded", "too few", "unknown"]


@dataclass(frozen=True)
class Check:
    """One measure of both runs.

    ``where``: a path, or :data:`CLIENT`; ``what``: the measure in words. ``before``, ``after``: None where a run does not have it.
    ``result``: *exceeded* is worse by more than the threshold and by more than chance; *worse* and *better* are real but within it;
    *too few*: the difference is beyond the threshold, but too little was measured to tell it from chance; *unknown*: one of the runs
    does not say.
    ``reason``: why it is unknown, or how much is lost, in words.
    """

    where: str
    kind: Kind
    what: str
    before: float | None
    after: float | None
    unit: Unit
    result: Result
    limit: str = ""
    reason: str = ""

    @property
    def change(self) -> float | None:
        """By how much ``after`` is higher, as a share of ``before``."""
        return None if self.before is None or self.after is None or self.before == 0 else (self.after - self.before) / self.before


@dataclass(frozen=True)
class Contrast:
    """``after`` held against ``before``."""

    after: Record
    before: Record
    thresholds: Thresholds
    checks: Sequence[Check]
    losses: Sequence[Loss]
    #: Whether both runs sent the same requests in the same order, so that they can be held against each other one by one.
    same_plan: bool

    @property
    def exceeded(self) -> list[Check]:
        return [check for check in self.checks if check.result == "exceeded"]

    @property
    def unknown(self) -> list[Check]:
        return [check for check in self.checks if check.result == "unknown"]

    @property
    def exit_status(self) -> int:
        """1: a threshold is exceeded; 2: nothing is, but something could not be compared; 0: neither."""
        if self.exceeded:
            return SOMETHING_DIFFERS
        return COULD_NOT_COMPARE if self.unknown else ALL_AS_EXPECTED

    @cached_property
    def conclusion(self) -> str:
        """One line."""
        runs = f"run {self.after.document['run']} against {self.before.document['run']}"
        if self.exceeded:
            places: dict[str, list[str]] = {}
            for check in self.exceeded:
                places.setdefault(check.where, []).append(check.what)
            return f"{runs}: beyond the thresholds: " + "; ".join(f"{where}: {', '.join(what)}" for where, what in places.items())
        if self.unknown:
            reasons = dict.fromkeys(f"{check.where}: {check.reason}" for check in self.unknown)
            return f"{runs}: nothing is beyond the thresholds, but not everything could be compared: {'; '.join(reasons)}"
        return f"{runs}: nothing is beyond the thresholds"


def contrast(after: Record, before: Record, thresholds: Thresholds) -> Contrast:
    """Hold one run against another."""
    same = _same_plan(after, before)
    checks = [*_client(after, before, thresholds, same), *_paths(after, before, thresholds)]
    return Contrast(after, before, thresholds, checks, losses(after, before) if same else [], same)


def _same_plan(after: Record, before: Record) -> bool:
    now, then = ([record.document["about"].get(key) for key in ("profile", "planned", "seed")] for record in (after, before))
    return None not in now and now == then


# -- what the client saw


def _client(after: Record, before: Record, thresholds: Thresholds, same_plan: bool) -> Iterator[Check]:
    if thresholds.lost is not None:
        # Who answers nothing is quick, and nothing of it is missing anywhere.
        yield _share("requests without an answer", "status IS NULL", after, before, thresholds.lost)
        if same_plan:
            yield _share("requests answered with an error", "status >= 500", after, before, thresholds.lost)
    if thresholds.slower is None:
        return
    routes = [("", "all routes")] + [(route, route) for route in _routes(after) if route in set(_routes(before))]
    for route, label in routes:
        where, parameters = ("WHERE route = $route AND status IS NOT NULL", {"route": route}) if route else ("WHERE status IS NOT NULL", {})
        pair = [_quantiles(record, f"SELECT duration_ms AS x FROM requests {where}", parameters) for record in (after, before)]
        yield from _longer(CLIENT, "slower", "duration", f" of {label}", "ms", pair[0], pair[1], thresholds.slower, 1000)


def _share(what: str, condition: str, after: Record, before: Record, limit: float) -> Check:
    """A share of the requests, as the client saw them."""
    sql = f"SELECT count(*) AS total, count(*) FILTER (WHERE {condition}) AS n FROM requests"
    then, now = (record.rows(sql)[0] for record in (before, after))
    shares = [row["n"] / row["total"] if row["total"] else 0.0 for row in (then, now)]
    return _grown(CLIENT, what, shares[0], shares[1], limit, f"{then['n']:,} → {now['n']:,}")


def _grown(where: str, what: str, before: float, after: float, limit: float, reason: str = "") -> Check:
    """A share that should not grow. A single request is a difference: what is lost is counted, not estimated."""
    result: Result = "exceeded" if after - before > limit + 1e-12 else _direction(after, before)
    return Check(where, "lost", what, before, after, "share", result, f"+{limit * 100:g} %", reason)


def _routes(record: Record) -> list[str]:
    return [str(row["route"]) for row in record.rows("SELECT DISTINCT route FROM requests ORDER BY route")]


# -- what each path shows


def _paths(after: Record, before: Record, thresholds: Thresholds) -> Iterator[Check]:
    replayed = any(record.document["about"].get("replay_of") for record in (after, before))
    for path in map(str, SignalPath):
        now, then = after.document["paths"][path], before.document["paths"][path]
        states = {now["state"], then["state"]}
        # A replay sends what the Collector had accepted, so it has no other paths; nor does its telemetry say when it became visible.
        if states == {"off"} or (replayed and "off" in states):
            continue
        gap = _gap(now, then)
        if gap is not None:
            yield Check(path, "read", "what arrived", None, None, "", "unknown", reason=gap)
            continue
        if thresholds.lost is not None:
            yield _lost(path, now, then, thresholds.lost)
            yield from _unjudged(path, now, then)
            yield from _attributes(path, now, then, thresholds.lost)
            yield from _totals(path, after, before)
        measured: list[tuple[Kind, str, Unit, str, Longer | None, float]] = [
            ("slower", "duration", "ms", "duration_ms", thresholds.slower, 1000),
            ("later", "visible after", "s", "visible_s", None if replayed else thresholds.later, 1),
        ]
        for kind, words, unit, column, limit, a_second in measured:
            if limit is not None:
                sql = f"SELECT {column} AS x FROM outcomes WHERE path = $path"
                pair = [_quantiles(record, sql, {"path": path}) for record in (after, before)]
                yield from _longer(path, kind, words, "", unit, pair[0], pair[1], limit, a_second)
        if thresholds.cost is not None:
            yield from _cost(path, after, before, thresholds.cost)


def _gap(now: Mapping[str, Any], then: Mapping[str, Any]) -> str | None:
    """Why a path cannot be compared, in words; None where it can."""
    for state, run in ((now, "this run"), (then, "the earlier run")):
        if state["state"] == "off":
            return f"it was off in {run}"
        if state["state"] == "unreadable":
            return f"it could not be read for {run} ({state['reason']})"
    return None


def _lost(path: str, now: Mapping[str, Any], then: Mapping[str, Any], limit: float) -> Check:
    shares, words = [], []
    for state in (then, now):
        bad = {name: n for name, n in state["verdicts"].items() if n and name in DIFFERS}
        shares.append(_part(sum(bad.values()), state))
        words.append(", ".join(f"{n:,} {name}" for name, n in bad.items()) or "none")
    return _grown(path, "not as expected", shares[0], shares[1], limit, f"{words[0]} → {words[1]}")


def _unjudged(path: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> Iterator[Check]:
    """More requests than before of which nobody can say whether they arrived: neither lost, nor as expected."""
    before, after = (_part(state["verdicts"].get(Verdict.UNKNOWN, 0), state) for state in (then, now))
    if after > before:
        reason = f"of {now['verdicts'][Verdict.UNKNOWN]:,} requests nobody can say whether they arrived"
        yield Check(path, "read", "cannot be judged", before, after, "share", "unknown", reason=reason)


def _part(n: int, state: Mapping[str, Any]) -> float:
    """A number of a path's requests as a share of them."""
    total = sum(state["verdicts"].values())
    return n / total if total else 0.0


def _attributes(path: str, now: Mapping[str, Any], then: Mapping[str, Any], limit: float) -> Iterator[Check]:
    """Declared attributes of which a larger share is dropped or changed than before."""
    shares = [{each["key"]: _spoilt(each) for each in state["attributes"]} for state in (then, now)]
    for key in sorted(shares[0].keys() & shares[1].keys()):
        before, after = shares[0][key], shares[1][key]
        if after != before:
            yield _grown(path, f"attribute {key} dropped or changed", before, after, limit)


def _spoilt(attribute: Mapping[str, Any]) -> float:
    spoilt = attribute["dropped"] + attribute["changed"]
    total = spoilt + attribute["kept"] + attribute["renamed"]
    return spoilt / total if total else 0.0


def _totals(path: str, after: Record, before: Record) -> Iterator[Check]:
    """Metrics whose total agreed with the ledger and does no longer."""
    then = {each["metric"]: each for each in before.document["metrics"] if each["path"] == path}
    for each in after.document["metrics"]:
        other = then.get(each["metric"])
        if each["path"] != path or other is None or other["state"] != "equal" or each["state"] == "equal":
            continue
        what, amounts = f"total of metric {each['metric']}", (other["observed"], each["observed"])
        if each["state"] == "unreadable":
            yield Check(path, "read", what, *amounts, "units", "unknown", reason=str(each["reason"]))
        else:
            words = f"{each['observed']:,.10g} instead of {each['expected']:,}"
            yield Check(path, "lost", what, *amounts, "units", "exceeded", "equal to the ledger's", words)


def _cost(path: str, after: Record, before: Record, limit: float) -> Iterator[Check]:
    """What a request is billed: dollars where both runs know the price, else units."""
    bills = [(record.document["paths"][path].get("billed"), int(record.document["requests"])) for record in (before, after)]
    if any(bill is None or not requests for bill, requests in bills):
        return
    unit: Unit = "usd" if all(bill["usd"] is not None for bill, _ in bills) else "units"
    then, now = ((bill["usd"] if unit == "usd" else bill["units"]) * 1000 / requests for bill, requests in bills)
    what = "cost of 1,000 requests" if unit == "usd" else f"billed {bills[1][0]['unit']}s of 1,000 requests"
    result: Result = "same"
    if now - then > then * limit + 1e-12:
        result = "exceeded"
    elif abs(now - then) > then * NEGLIGIBLE:
        result = _direction(now, then)
    yield Check(path, "cost", what, then, now, unit, result, f"+{limit * 100:g} %")


# -- durations


def _quantiles(record: Record, sql: str, parameters: Mapping[str, Any]) -> list[Quantile] | None:
    """The quantiles of a column ``x``; None where nothing was measured."""
    n = int(record.rows(f"SELECT count(x) AS n FROM ({sql})", parameters)[0]["n"])
    if n == 0:
        return None
    wanted = [(q, *ranks(n, q)) for q in QUANTILES]
    # quantile_disc takes the value at rank ceil(n * q): half a rank less, so that rounding cannot miss it.
    at = sorted({fraction for q, low, high in wanted for fraction in (q, *((rank - 0.5) / n for rank in (low, high) if rank is not None))})
    values = record.rows(f"SELECT quantile_disc(x, {at}) AS found FROM ({sql})", parameters)[0]["found"]
    value = dict(zip(at, values, strict=True))
    return [
        Quantile(
            float(value[q]),
            None if low is None else float(value[(low - 0.5) / n]),
            None if high is None else float(value[(high - 0.5) / n]),
            n,
        )
        for q, low, high in wanted
    ]


def _longer(
    where: str,
    kind: Kind,
    words: str,
    of: str,
    unit: Unit,
    after: list[Quantile] | None,
    before: list[Quantile] | None,
    limit: Longer,
    a_second: float,
) -> Iterator[Check]:
    """One check a quantile. A backend that does not say in both runs has no check: nothing changed."""
    if after is None and before is None:
        return
    if after is None or before is None:
        run = "this run" if after is None else "the earlier run"
        yield Check(where, kind, f"{words}{of}", None, None, unit, "unknown", str(limit), f"{run} has none")
        return
    for q, now, then in zip(QUANTILES, after, before, strict=True):
        beyond = now.value - then.value > max(limit.share * then.value, limit.seconds * a_second)
        certain = now.above(then)
        result: Result
        if beyond:
            result = "exceeded" if certain else "too few" if certain is None else "same"
        elif certain or then.above(now):
            result = _direction(now.value, then.value)
        else:
            result = "same"
        yield Check(where, kind, f"{words} p{q * 100:g}{of}", then.value, now.value, unit, result, str(limit))


def _direction(now: float, then: float) -> Result:
    return "worse" if now > then else "better" if now < then else "same"
