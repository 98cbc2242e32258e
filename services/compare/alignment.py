"""One request's observations laid side by side: which of them show the same operation, and what differs. Pure.

An *operation* is a piece of work: handling the request, the work of a view, a call to another service, an SQL statement. Each path shows
it in its own words: a span, a segment or subsegment, a log line, an item. Two observations show the same operation, in this order:

``declared``
    what :mod:`services.cruddur.signals` declares as one operation: span ``GET /api/activities/home``, segment ``Cruddur`` (SDK), segment
    ``cruddur`` (OTLP) and log event ``request``. The outermost span of a declared service is the service's part of the request, whatever
    its name, for the span of an unknown path has the path as its name.
``id``
    the same id: X-Ray keeps the id of a span that came over OTLP as the id of its segment or subsegment.
``caller``
    outermost of their path and called by the same one, who is not in the trace: the client's ``traceparent`` names one span id to all.
``call``
    around the same operation: what the Collector calls ``GET`` and the X-Ray SDK calls after the host it asked both hold the segment of
    the service that answered.
``name``
    the same name and the same place: the n-th of that name within the same operation. So log lines of one event, too.
``time``
    within the same operation, and together for at least :data:`SAME_TIME` of the time that either takes: a call that nobody answered.
``error``
    an item of an exception shows the innermost operation that failed; where no path shows a failed one, the request.

What no rule joins is an operation of its own. Two operations that are declared apart are never joined by anything.

Differences of one operation on one path (:class:`Difference`). The reference is what Honeycomb shows, else X-Ray by OTLP, else X-Ray's SDK:

``missing``
    a declared signal is not there; or a span that is declared nowhere is on one of the two paths the Collector feeds, and not on the other.
``doubled``
    more often than declared, or than once.
``renamed``
    another name than the reference; ``declared`` says whether it is what the signals declare for this path.
``duration``
    more than :data:`DURATION_MS` *and* more than :data:`DURATION_SHARE` away from the reference's.
``error``
    failed here and not there, or the other way round.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Final, Literal

from compose.settings import SignalPath
from services.compare.paths import SAMPLED_KINDS
from services.compare.readers.base import Observation
from services.cruddur.signals import OTEL_DOWNSTREAM_SERVICE, OTEL_SERVICE, Kind, Operation, Outcome, Route, Signal, expected

#: A duration differs when it is more than this many milliseconds *and* more than this share away from the reference's.
DURATION_MS: Final = 1.0
DURATION_SHARE: Final = 0.1
#: Share of the time of both, together, in which two things that are the same by time are both under way.
SAME_TIME: Final = 0.8
#: Things within one operation that are compared by time at most: each with each, so this bounds what a huge trace costs.
_BY_TIME: Final = 100
#: Which path's words and times the others are compared with.
REFERENCES: Final = (SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_OTLP, SignalPath.XRAY_SDK)
#: Paths that the Collector feeds with the same spans.
TWINS: Final = frozenset({SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_OTLP})

Rule = Literal["declared", "id", "caller", "call", "name", "time", "error", "alone"]
#: From the strongest to the weakest.
RULES: Final[tuple[Rule, ...]] = ("declared", "id", "caller", "call", "name", "time", "error", "alone")
#: How a path stands as a whole. Only one that was ``read`` can lack something.
State = Literal["read", "not-sampled", "unreadable", "off"]


@dataclass(frozen=True)
class Difference:
    """``what``: in words, the vendor's own text in it. ``milliseconds`` and ``share``: of a duration, signed, from the reference.
    ``declared``: it is what the signals declare for this path. ``times``: of something doubled."""

    kind: Literal["missing", "doubled", "renamed", "duration", "error"]
    what: str = ""
    milliseconds: float | None = None
    share: float | None = None
    declared: bool = False
    times: int = 1


@dataclass
class Cell:
    """What one path shows of one operation: ``members`` are indexes into the observations that were given, those with a duration first."""

    members: list[int] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    #: Declared signals that are not there.
    missing: list[Signal] = field(default_factory=list)


@dataclass
class Aligned:
    """One operation. ``key``: ``op1``, ``op2`` … in the order of the tree. ``title``: the reference's name, else what is declared.
    ``rule``: the weakest of the rules by which its observations were joined. ``reference``: index of the observation that the others
    are compared with; None where no path shows its duration."""

    key: str
    title: str
    depth: int
    rule: Rule
    declared: Operation | None
    reference: int | None
    cells: dict[SignalPath, Cell]

    @property
    def differs(self) -> bool:
        """Whether anything differs that is not declared to."""
        return any(not difference.declared for cell in self.cells.values() for difference in cell.differences)


@dataclass(frozen=True)
class Alignment:
    """``operations`` as a tree, parents first. ``key_of``: each observation's operation. ``depths``: of each in its own path."""

    operations: list[Aligned]
    key_of: list[str]
    depths: list[int]


def align(
    observations: Sequence[Observation],
    states: Mapping[SignalPath, State],
    declared: Collection[Signal] | None = None,
) -> Alignment:
    """Lay one request's observations side by side.

    ``states``: how each path stands; a path that is not in it counts as off. ``declared``: the signals that this request must show
    (:func:`services.cruddur.signals.expected`); None where no ledger line says what the request was, so that nothing can be missing.
    """
    trace = _Trace(observations)
    groups = _Groups(trace)
    _join_declared(trace, groups)
    _join_ids(trace, groups)
    _join_callers(trace, groups)
    _join_calls(trace, groups)
    _join_siblings(trace, groups)
    _join_logs(trace, groups)
    place = _join_items(trace, groups)
    return _result(trace, groups, states, declared, place)


# -- the trace as each path has it


class _Trace:
    """The observations with each one's parent in its own path, without loops."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.all = observations
        by_id: dict[tuple[SignalPath, str], int] = {}
        for at, each in enumerate(observations):
            if each.kind in SAMPLED_KINDS and each.id:
                by_id.setdefault((each.path, each.id), at)
        self.parents: list[int | None] = [
            None if each.parent_id is None or each.parent_id == each.id else by_id.get((each.path, each.parent_id)) for each in observations
        ]
        self.depths = [0] * len(observations)
        self._break_loops()
        self.spans = [at for at, each in enumerate(observations) if each.kind in SAMPLED_KINDS]
        self.logs = [at for at, each in enumerate(observations) if each.kind == "log"]
        self.items = [at for at, each in enumerate(observations) if each.kind == "item"]

    def _break_loops(self) -> None:
        """Depths; whoever is their own ancestor has no parent."""
        done: set[int] = set()
        for at in range(len(self.all)):
            way: list[int] = []
            on_way: set[int] = set()
            here: int | None = at
            while here is not None and here not in done and here not in on_way:
                way.append(here)
                on_way.add(here)
                here = self.parents[here]
            if here is not None and here in on_way:
                self.parents[here] = None
            for one in reversed(way):
                parent = self.parents[one]
                self.depths[one] = 0 if parent is None else self.depths[parent] + 1
                done.add(one)

    def start(self, at: int) -> float:
        start = self.all[at].start
        return start if start is not None and math.isfinite(start) else math.inf


class _Groups:
    """Observations joined to operations: disjoint sets, each with the weakest rule that joined it and what is declared of it."""

    def __init__(self, trace: _Trace) -> None:
        self._up = list(range(len(trace.all)))
        self.rule: dict[int, Rule] = {}
        self.declared: dict[int, Operation] = {}
        self.paths = [{each.path} for each in trace.all]

    def of(self, at: int) -> int:
        while self._up[at] != at:
            self._up[at] = self._up[self._up[at]]
            at = self._up[at]
        return at

    def join(self, one: int, other: int, rule: Rule) -> bool:
        """Make two the same operation, unless they are declared to be two."""
        one, other = self.of(one), self.of(other)
        if one == other:
            return False
        first, second = self.declared.get(one), self.declared.get(other)
        if first is not None and second is not None and first is not second:
            return False
        self._up[other] = one
        self.paths[one] |= self.paths[other]
        operation = first or second
        if operation is not None:
            self.declared[one], self.rule[one] = operation, "declared"
        elif rule == "error":
            self.rule.setdefault(one, rule)
        else:
            rules = [rule, *(self.rule[each] for each in (one, other) if each in self.rule)]
            self.rule[one] = max(rules, key=RULES.index)
        return True

    def members(self, among: Iterable[int]) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for at in among:
            found[self.of(at)].append(at)
        return found


# -- the rules


@lru_cache(maxsize=1)
def _declarations() -> Mapping[tuple[SignalPath, Kind, str, str], Operation]:
    """Every declared signal's operation, by path, kind, service and name."""
    found: dict[tuple[SignalPath, Kind, str, str], Operation] = {}
    for route, outcome, status in product(Route, Outcome, (200, 201, 404, 405, 422, 500, 502, 504)):
        for signal in expected(route, outcome, status):
            if signal.kind != "item" and signal.name:
                found[signal.path, signal.kind, signal.service, signal.name] = signal.operation
    return found


#: The part of the request that the outermost span of a service shows.
_OUTERMOST: Final = {OTEL_SERVICE: Operation.REQUEST, OTEL_DOWNSTREAM_SERVICE: Operation.PROFILES}


def declared_as(each: Observation) -> Operation | None:
    """The operation that an observation's path, kind, service and name are declared to show."""
    return _declarations().get((each.path, each.kind, each.service, each.name))


def _join_declared(trace: _Trace, groups: _Groups) -> None:
    first: dict[Operation, int] = {}
    for at, each in enumerate(trace.all):
        operation = declared_as(each)
        if operation is None and each.kind == "span" and trace.parents[at] is None:
            operation = _OUTERMOST.get(each.service)
        if operation is None:
            continue
        groups.declared[groups.of(at)] = operation
        groups.rule.setdefault(groups.of(at), "declared")
        if operation in first:
            groups.join(first[operation], at, "declared")
        else:
            first[operation] = at


def _join_ids(trace: _Trace, groups: _Groups) -> None:
    first: dict[str, int] = {}
    for at in trace.spans:
        identity = trace.all[at].id
        if identity:
            groups.join(first.setdefault(identity, at), at, "id")


def _join_callers(trace: _Trace, groups: _Groups) -> None:
    """The outermost of each path that name the same caller, where each path has one such operation."""
    callers: dict[str, dict[SignalPath, set[int]]] = defaultdict(lambda: defaultdict(set))
    for at in trace.spans:
        caller = trace.all[at].parent_id
        if trace.parents[at] is None and caller:
            callers[caller][trace.all[at].path].add(groups.of(at))
    for by_path in callers.values():
        alone = [next(iter(found)) for found in by_path.values() if len(found) == 1]
        for other in alone[1:]:
            groups.join(alone[0], other, "caller")


def _join_calls(trace: _Trace, groups: _Groups) -> None:
    """What holds the same operation, from the inside out."""
    todo = list(groups.members(trace.spans))
    members = groups.members(trace.spans)
    while todo:
        inner = todo.pop()
        holders: dict[int, set[SignalPath]] = {}
        for at in members.get(inner, ()):
            parent = trace.parents[at]
            if parent is None:
                continue
            holder = groups.of(parent)
            if holder != inner and groups.declared.get(holder) is None:
                holders[holder] = groups.paths[holder]
        some = list(holders)
        for other in some[1:]:
            one, two = groups.of(some[0]), groups.of(other)
            if one != two and not groups.paths[one] & groups.paths[two] and groups.join(one, two, "call"):
                members[one] = members.pop(one, []) + members.pop(two, [])
                todo.append(one)


def _join_siblings(trace: _Trace, groups: _Groups) -> None:
    """Within the same operation: the n-th of the same name on paths that have no id in common, then what took the same time."""
    by_depth: dict[int, list[list[int]]] = defaultdict(list)
    for group, members in groups.members(trace.spans).items():
        if groups.declared.get(group) is None:
            by_depth[min(trace.depths[at] for at in members)].append(members)
    # From the outside in: what is within is compared once its own places are known.
    for depth in sorted(by_depth):
        within: dict[int, dict[int, list[int]]] = defaultdict(dict)
        for members in by_depth[depth]:
            parent = next((parent for at in members if (parent := trace.parents[at]) is not None), None)
            if parent is not None:
                within[groups.of(parent)][groups.of(members[0])] = members
        for siblings in within.values():
            _join_by_name(trace, groups, siblings)
            _join_by_time(trace, groups, siblings)


def _join_by_name(trace: _Trace, groups: _Groups, siblings: Mapping[int, Sequence[int]]) -> None:
    named: dict[str, dict[frozenset[SignalPath], list[int]]] = defaultdict(lambda: defaultdict(list))
    for group, members in sorted(siblings.items(), key=lambda each: min(trace.start(at) for at in each[1])):
        for name in {"".join(filter(str.isalnum, trace.all[at].name)).lower() for at in members}:
            if name:
                named[name][frozenset(groups.paths[group])].append(group)
    for columns in named.values():
        for row in zip(*columns.values(), strict=False):
            for other in row[1:]:
                if not groups.paths[groups.of(row[0])] & groups.paths[groups.of(other)]:
                    groups.join(row[0], other, "name")


def _join_by_time(trace: _Trace, groups: _Groups, siblings: Mapping[int, Sequence[int]]) -> None:
    whens = [(group, when) for group, members in siblings.items() if (when := _interval(trace, members)) is not None]
    # The longest are worth it; what takes no time takes the same time as everything else that does.
    whens = sorted(whens, key=lambda each: each[1][0] - each[1][1])[:_BY_TIME]
    pairs = []
    for number, (one, first) in enumerate(whens):
        for other, second in whens[number + 1 :]:
            share = _together(first, second)
            if share >= SAME_TIME and not groups.paths[groups.of(one)] & groups.paths[groups.of(other)]:
                pairs.append((share, one, other))
    for _, one, other in sorted(pairs, key=lambda pair: -pair[0]):
        if not groups.paths[groups.of(one)] & groups.paths[groups.of(other)]:
            groups.join(one, other, "time")


def _interval(trace: _Trace, members: Sequence[int]) -> tuple[float, float] | None:
    """When an operation was under way, where it took longer than what a clock's steps and an SDK's own work hide."""
    for at in members:
        each = trace.all[at]
        start, duration = trace.start(at), each.duration_ms
        if math.isfinite(start) and duration is not None and math.isfinite(duration) and duration >= DURATION_MS:
            return start, start + duration / 1000
    return None


def _together(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The share of the time of both, together, in which both are under way."""
    both = min(one[1], other[1]) - max(one[0], other[0])
    either = max(one[1], other[1]) - min(one[0], other[0])
    return both / either if either > 0 else 0.0


def _join_logs(trace: _Trace, groups: _Groups) -> None:
    """Log lines of one event that nothing declares: the n-th of it on each path."""
    first: dict[tuple[str, str, int], int] = {}
    seen: Counter[tuple[SignalPath, str, str]] = Counter()
    for at in sorted(trace.logs, key=trace.start):
        each = trace.all[at]
        if groups.declared.get(groups.of(at)) is None:
            key = (each.path, each.service, each.name)
            groups.join(first.setdefault((each.service, each.name, seen[key]), at), at, "name")
            seen[key] += 1


def _join_items(trace: _Trace, groups: _Groups) -> int | None:
    """Items to what they tell of; the operation (one observation of it) that an item of an exception shows, None where there is none."""
    request = next((at for at in range(len(trace.all)) if groups.declared.get(groups.of(at)) is Operation.REQUEST), None)
    failed = [at for at in trace.spans if trace.all[at].error]
    outer = {groups.of(parent) for at in failed if (parent := trace.parents[at]) is not None}
    innermost = [at for at in failed if groups.of(at) not in outer]
    # An item comes from the service that raised the exception, which is the one that the client asked.
    innermost.sort(key=lambda at: (trace.all[at].path not in REFERENCES[:1], trace.start(at)))
    place = innermost[0] if innermost else request
    for at in trace.items:
        to = place if trace.all[at].error else request
        if to is not None:
            groups.join(to, at, "error")
    return place


# -- what differs


def _result(
    trace: _Trace, groups: _Groups, states: Mapping[SignalPath, State], declared: Collection[Signal] | None, place: int | None
) -> Alignment:
    members = groups.members(range(len(trace.all)))
    built: dict[int | Operation, Aligned] = {}
    for group, found in members.items():
        built[group] = _operation(trace, found, groups.declared.get(group), groups.rule.get(group, "alone"))
    by_operation = {operation: group for group, operation in groups.declared.items() if groups.of(group) == group}
    item_place = None if place is None else groups.of(place)
    asked: dict[tuple[SignalPath, Kind, str, str], list[Signal]] = defaultdict(list)
    for signal in declared or ():
        asked[signal.path, signal.kind, signal.service, signal.name].append(signal)
    for signal, *others in asked.values():
        shows_failure = signal.kind == "item" and signal.name in ("error", "critical")
        target: int | Operation | None = item_place if shows_failure and item_place is not None else by_operation.get(signal.operation)
        if target is None:
            target = signal.operation
            built.setdefault(
                target, Aligned("", signal.name or str(signal.operation), 0, "declared", signal.operation, None, defaultdict(Cell))
            )
        _declared_count(trace, built[target], signal, 1 + len(others), states)
    # What no path can be blamed for, because none of its paths was sampled or could be read, is not there.
    built = {name: each for name, each in built.items() if isinstance(name, int) or any(cell.missing for cell in each.cells.values())}
    for aligned in built.values():
        _twins(trace, aligned, states)
        _doubled(trace, aligned, declared)
        _compared(trace, aligned)
    parents = {group: _parent(trace, groups, found) for group, found in members.items()}
    ordered = list(_tree(trace, built, parents, members))
    keys: dict[int, str] = {}
    for number, (name, depth) in enumerate(ordered, start=1):
        built[name].key, built[name].depth = f"op{number}", depth
        if isinstance(name, int):
            keys[name] = built[name].key
    operations = [built[name] for name, _ in ordered]
    for aligned in operations:
        aligned.cells = dict(aligned.cells)
    return Alignment(operations, [keys[groups.of(at)] for at in range(len(trace.all))], trace.depths)


def _operation(trace: _Trace, members: Sequence[int], declared: Operation | None, rule: Rule) -> Aligned:
    cells: dict[SignalPath, Cell] = defaultdict(Cell)
    for at in sorted(members, key=lambda at: (trace.all[at].kind not in SAMPLED_KINDS, trace.start(at))):
        cells[trace.all[at].path].members.append(at)
    reference = next(
        (at for path in REFERENCES if path in cells for at in cells[path].members if trace.all[at].kind in SAMPLED_KINDS),
        None,
    )
    shown = (
        reference if reference is not None else next(iter(sorted(members, key=lambda at: (trace.all[at].kind == "item", trace.start(at)))))
    )
    each = trace.all[shown]
    title = each.name or f"{each.kind} without a name"
    if reference is None and declared is None:
        title = f"{each.kind} {title}"
    return Aligned("", title, 0, rule if len(members) > 1 or declared is not None else "alone", declared, reference, cells)


def _declared_count(trace: _Trace, aligned: Aligned, signal: Signal, count: int, states: Mapping[SignalPath, State]) -> None:
    state = states.get(signal.path, "off")
    if state in ("unreadable", "off") or (state == "not-sampled" and signal.kind in SAMPLED_KINDS):
        return
    cell = aligned.cells[signal.path]
    there = sum(1 for at in cell.members if _shows(trace.all[at], signal))
    if there < count:
        cell.missing += [signal] * (count - there)
        times = f"{count - there} of {count} times: " if count > 1 else ""
        cell.differences.append(Difference("missing", f"{times}{signal}"))


def _shows(each: Observation, signal: Signal) -> bool:
    return each.kind == signal.kind and each.service == signal.service and (each.name == signal.name or not signal.name)


def _twins(trace: _Trace, aligned: Aligned, states: Mapping[SignalPath, State]) -> None:
    """A span that the Collector gave to one of its two backends, and the other does not show."""
    if aligned.reference is None or aligned.declared is not None:
        return
    there = [path for path in TWINS if any(trace.all[at].kind in SAMPLED_KINDS for at in aligned.cells.get(path, Cell()).members)]
    for path in TWINS:
        if len(there) == 1 and path != there[0] and states.get(path) == "read":
            aligned.cells[path].differences.append(
                Difference("missing", f"{there[0]} has it; no signal declares it, so no verdict counts it")
            )


def _doubled(trace: _Trace, aligned: Aligned, declared: Collection[Signal] | None) -> None:
    for path, cell in aligned.cells.items():
        times: Counter[tuple[Kind, str, str]] = Counter()
        for at in cell.members:
            each = trace.all[at]
            times[each.kind, each.service, each.name] += max(1, each.deliveries)
        for (kind, service, name), count in times.items():
            allowed = sum(
                1
                for signal in declared or ()
                if signal.path is path and signal.kind == kind and signal.service == service and signal.name in (name, "")
            )
            if count > max(1, allowed):
                cell.differences.append(Difference("doubled", f"{kind} {name} ({service})", times=count))


def _compared(trace: _Trace, aligned: Aligned) -> None:
    """Each path's spans against the reference's."""
    if aligned.reference is None:
        return
    reference = trace.all[aligned.reference]
    for path, cell in aligned.cells.items():
        at = next((at for at in cell.members if trace.all[at].kind in SAMPLED_KINDS), None)
        if at is None or path is reference.path:
            continue
        each = trace.all[at]
        if each.name != reference.name:
            as_declared = declared_as(each) is not None and aligned.declared is not None
            cell.differences.append(Difference("renamed", f"{reference.path} calls it {reference.name}", declared=as_declared))
        difference = _duration(each.duration_ms, reference.duration_ms)
        if difference is not None:
            cell.differences.append(Difference("duration", f"than on {reference.path}", milliseconds=difference[0], share=difference[1]))
        if each.error != reference.error:
            said = "failed here" if each.error else "not failed here"
            cell.differences.append(Difference("error", f"{said}, {'not ' if each.error else ''}failed on {reference.path}"))


def _duration(this: float | None, that: float | None) -> tuple[float, float] | None:
    if this is None or that is None or not (math.isfinite(this) and math.isfinite(that)):
        return None
    by = this - that
    share = abs(by) / max(abs(that), 1e-9)
    return (by, math.copysign(share, by)) if abs(by) > DURATION_MS and share > DURATION_SHARE else None


# -- the tree of operations


def _parent(trace: _Trace, groups: _Groups, members: Sequence[int]) -> int | None:
    """The operation around one: the first reference's word for it, where paths differ."""
    group = groups.of(members[0])
    order = {path: number for number, path in enumerate(SignalPath)}
    for at in sorted(
        members, key=lambda at: (REFERENCES.index(trace.all[at].path) if trace.all[at].path in REFERENCES else 3, order[trace.all[at].path])
    ):
        parent = trace.parents[at]
        if parent is not None and groups.of(parent) != group:
            return groups.of(parent)
    return None


def _tree(
    trace: _Trace, built: Mapping[int | Operation, Aligned], parents: Mapping[int, int | None], members: Mapping[int, Sequence[int]]
) -> Iterator[tuple[int | Operation, int]]:
    """Operations with their depth: parents before what is within, each level by time; what nobody shows last."""
    within: dict[int | None, list[int]] = defaultdict(list)
    for group in members:
        within[parents[group]].append(group)

    def when(group: int) -> tuple[bool, float]:
        starts = [trace.start(at) for at in members[group]]
        return built[group].reference is None, min(starts, default=math.inf)

    shown: set[int] = set()
    todo = [(group, 0) for group in sorted(within[None], key=when, reverse=True)]
    # Paths may disagree on who is within whom, so that nobody is outermost: then whoever began first is.
    rest = sorted(members, key=when)
    while todo or len(shown) < len(members):
        if not todo:
            todo.append((next(group for group in rest if group not in shown), 0))
        group, depth = todo.pop()
        if group in shown:
            continue
        shown.add(group)
        yield group, depth
        todo += [(inner, depth + 1) for inner in sorted(within.get(group, ()), key=when, reverse=True)]
    for name in built:
        if isinstance(name, Operation):
            yield name, 0 if name is Operation.REQUEST else 1
