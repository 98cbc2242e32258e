"""Which requests of a run are asked for: read from an address, written into one, and turned into SQL. Pure.

    wanted = parse({"path": "xray/sdk", "verdict": "missing", "status": "5xx"}, known)
    where, values = wanted.condition()      # over the record's table `requests`
    wanted.address()                        # {"path": "xray/sdk", "verdict": "missing", "status": "5xx"}

=========  ==========================================================================================================
path       a signal path. The next three, and the sort by difference and by time until visible, are then about this path alone
verdict    a verdict, or ``not-as-expected``: on the path, else on any path
error      ``captured``: the path shows the request as failed; ``not-captured``: it was answered 5xx and the path does not
           say so; without a path: any path, no path
route      a route of the application, as ``METHOD rule``
status     a status, ``2xx`` to ``5xx``, or ``none``: there was no answer
outcome    what the load generator asked for
from, to   when the request was sent: ISO 8601, UTC where it says no zone; from is included, to is not
slower     milliseconds that the request took at least
sort       ``sequence``, ``duration``, ``difference`` (the client's duration minus the backend's), ``visible`` (time until visible)
order      ``asc`` or ``desc``; by default sequences ascend and everything else descends
=========  ==========================================================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final

from compose.settings import SignalPath
from services.compare.model import AS_EXPECTED, Verdict
from services.cruddur.signals import Outcome, Route

#: What a path says of a request it should not: everything but what is as expected and what could not be read at all.
NOT_AS_EXPECTED: Final = "not-as-expected"
DIFFERING: Final = tuple(str(verdict) for verdict in Verdict if verdict not in AS_EXPECTED and verdict is not Verdict.UNREADABLE)
VERDICTS: Final = (NOT_AS_EXPECTED, *map(str, Verdict))
ERRORS: Final = ("captured", "not-captured")
STATUSES: Final = ("2xx", "3xx", "4xx", "5xx", "none")
SORTS: Final = ("sequence", "duration", "difference", "visible")
ORDERS: Final = ("asc", "desc")
#: Beside the filters: the page of the list.
PAGE: Final = "page"

_STATUS: Final = re.compile(r"[1-5][0-9][0-9]")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?")


class BadFilter(ValueError):
    """A filter that says something nobody can mean. ``name`` is the filter; the message is one line that says what is known."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Known:
    """What a run has, so that a filter that can never find anything is told from one that finds nothing."""

    paths: Collection[str]
    routes: Collection[str] = ()
    outcomes: Collection[str] = ()


@dataclass(frozen=True)
class Wanted:
    """The requests that are asked for. An empty text or None: any."""

    path: str = ""
    verdict: str = ""
    error: str = ""
    route: str = ""
    status: str = ""
    outcome: str = ""
    since: float | None = None
    until: float | None = None
    slower: float | None = None
    sort: str = "sequence"
    order: str = ""

    def address(self) -> dict[str, str]:
        """The arguments of an address that asks for these; only what differs from asking for all."""
        found = {name: value for name in _TEXTS if name not in ("sort", "order") and (value := getattr(self, name))}
        found |= {name: moment(value) for name, value in (("from", self.since), ("to", self.until)) if value is not None}
        if self.slower is not None:
            found["slower"] = f"{self.slower:g}"
        if self.sort != "sequence":
            found["sort"] = self.sort
        if self.descends != (self.sort != "sequence"):
            found["order"] = self.order
        return found

    def without(self, name: str) -> Wanted:
        """The same without one filter, by its name in an address."""
        return replace(self, **{_FIELDS[name]: _DEFAULTS[_FIELDS[name]]})

    @property
    def filters(self) -> dict[str, str]:
        """The filters that are set, by name; how the list is sorted is none of them."""
        return {name: value for name, value in self.address().items() if name not in ("sort", "order")}

    @property
    def descends(self) -> bool:
        return self.order == "desc" or (not self.order and self.sort != "sequence")

    def sorted_by(self, sort: str) -> Wanted:
        """The same sorted by a column; the other way round where it is sorted by that already."""
        order = "" if sort != self.sort else "asc" if self.descends else "desc"
        return replace(self, sort=sort, order=order)

    def condition(self) -> tuple[str, list[Any]]:
        """A condition over the table ``requests`` and its values."""
        conditions, values = ["true"], list[Any]()

        def add(condition: str, *each: Any) -> None:
            conditions.append(condition)
            values.extend(each)

        if self.verdict:
            self._outcome(
                add, "IN", "verdict IN (SELECT unnest(?))", list(DIFFERING) if self.verdict == NOT_AS_EXPECTED else [self.verdict]
            )
        if self.error == "captured":
            self._outcome(add, "IN", "error")
        elif self.error:
            add("status >= 500")
            self._outcome(add, "NOT IN", "error")
        if self.path and not (self.verdict or self.error):
            self._outcome(add, "IN", "true")
        if self.route:
            add("route = ?", self.route)
        if self.outcome:
            add("outcome = ?", self.outcome)
        if self.status == "none":
            add("status IS NULL")
        elif self.status.endswith("xx"):
            add("status // 100 = ?", int(self.status[0]))
        elif self.status:
            add("status = ?", int(self.status))
        if self.since is not None:
            add("start >= ?", self.since)
        if self.until is not None:
            add("start < ?", self.until)
        if self.slower is not None:
            add("duration_ms >= ?", self.slower)
        return " AND ".join(conditions), values

    def _outcome(self, add: Any, operator: str, condition: str, *values: Any) -> None:
        on_path = (" AND path = ?", [self.path]) if self.path else ("", [])
        add(f"sequence {operator} (SELECT sequence FROM outcomes WHERE {condition}{on_path[0]})", *values, *on_path[1])


_TEXTS: Final = ("path", "verdict", "error", "route", "status", "outcome", "sort", "order")
_DEFAULTS: Final[Mapping[str, Any]] = {field.name: field.default for field in fields(Wanted)}
#: Names in an address, and what they are here: `from` is a word of the language.
_FIELDS: Final = {name: name for name in _TEXTS} | {"from": "since", "to": "until", "slower": "slower"}
NAMES: Final = tuple(_FIELDS)


def parse(arguments: Mapping[str, str], known: Known) -> Wanted:
    """The filters in an address's arguments; those that are empty are left out, as a form sends them. Raises BadFilter."""
    said = {name: value.strip() for name, value in arguments.items() if value.strip() and name != PAGE}
    for name in said:
        if name not in _FIELDS:
            raise BadFilter(name, f"there is no filter {name!r}; there are {_listed(NAMES)}")
    texts = {
        "path": known.paths,
        "verdict": VERDICTS,
        "error": ERRORS,
        "route": [*map(str, Route), *known.routes],
        "outcome": [*map(str, Outcome), *known.outcomes],
        "sort": SORTS,
        "order": ORDERS,
    }
    for name, values in texts.items():
        if name in said and said[name] not in values:
            if name == "path" and said[name] in list(SignalPath):
                raise BadFilter(name, f"path {said[name]} was off in this run; on were {_listed(values)}")
            raise BadFilter(name, f"{name} {said[name]!r} is not known; known are {_listed(dict.fromkeys(values))}")
    status = said.get("status", "")
    if status and status not in STATUSES and not _STATUS.fullmatch(status):
        raise BadFilter("status", f"status {status!r} is not known; known are the statuses 100 to 599, {_listed(STATUSES)}")
    wanted = Wanted(
        **{name: said[name] for name in _TEXTS if name in said},
        since=_moment("from", said),
        until=_moment("to", said),
        slower=_milliseconds("slower", said),
    )
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise BadFilter("to", f"to {said['to']} is not after from {said['from']}: no request was sent in between")
    return wanted


def moment(value: float) -> str:
    """Epoch seconds as an address, and a field of type datetime-local, has them: UTC, to the millisecond."""
    return datetime.fromtimestamp(round(value, 3), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].removesuffix(".000")


def _moment(name: str, said: Mapping[str, str]) -> float | None:
    if name not in said:
        return None
    if _MOMENT.fullmatch(said[name]):
        try:
            found = datetime.fromisoformat(said[name])
            return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    raise BadFilter(name, f"{name} {said[name]!r} is no time; it is written like 2026-01-05T08:00:00.250, UTC")


def _milliseconds(name: str, said: Mapping[str, str]) -> float | None:
    if name not in said:
        return None
    try:
        value = float(said[name])
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e9:
        raise BadFilter(name, f"{name} {said[name]!r} is no duration; it is a number of milliseconds, like 250")
    return value


def _listed(values: Collection[str] | Sequence[str]) -> str:
    return ", ".join(values)
