"""Pure: traces as a list shows them, from TraceSummary (AWS X-Ray API Reference). Durations are seconds there and milliseconds here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.compare.readers.base import mapping
from services.compare.web.vendors.xray.client import epoch
from services.compare.web.vendors.xray.graphs import Histogram, quantile

#: Annotations and services of a trace in one row; its own page has all.
SHOWN: Final = 6


@dataclass(frozen=True)
class Cause:
    """A way from the service that was asked to what was to blame. ``kind``: fault, error or response time.

    ``path``: names of services and of what in them, from the outside in; ``what``: the exception, or how much of the time it took.
    """

    kind: str
    path: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Row:
    """A trace in the list. ``outcome``: ok, error, throttle or fault, the worst; ``partial``: something of it is in progress."""

    id: str
    start: float | None
    duration: float | None
    response_time: float | None
    method: str
    url: str
    status: int | None
    flags: tuple[str, ...]
    partial: bool
    entry: str
    services: tuple[str, ...]
    annotations: tuple[tuple[str, tuple[Any, ...]], ...]
    users: tuple[str, ...]
    causes: tuple[Cause, ...]


@dataclass(frozen=True)
class Totals:
    """A page of the list, summed up."""

    traces: int
    flags: Mapping[str, int]
    partial: int
    p50: float | None
    p90: float | None
    p99: float | None
    longest: float | None


def row(summary: Mapping[str, Any]) -> Row:
    http = mapping(summary.get("Http"))
    flags = [flag for flag in ("fault", "throttle", "error") if summary.get(f"Has{flag.capitalize()}")]
    services = dict.fromkeys(str(each.get("Name") or "") for each in _objects(summary.get("ServiceIds")) if each.get("Type") != "client")
    return Row(
        id=str(summary.get("Id") or ""),
        start=epoch(summary.get("StartTime")) or _begun(str(summary.get("Id") or "")),
        duration=_milliseconds(summary.get("Duration")),
        response_time=_milliseconds(summary.get("ResponseTime")),
        method=str(http.get("HttpMethod") or ""),
        url=str(http.get("HttpURL") or ""),
        status=http.get("HttpStatus"),
        flags=tuple(flags),
        partial=bool(summary.get("IsPartial")),
        entry=str(mapping(summary.get("EntryPoint")).get("Name") or ""),
        services=tuple(services),
        annotations=tuple(
            (str(key), tuple(dict.fromkeys(_value(each) for each in _objects(values))))
            for key, values in sorted(mapping(summary.get("Annotations")).items())
        ),
        users=tuple(str(each.get("UserName") or "") for each in _objects(summary.get("Users"))),
        causes=tuple(_causes(summary)),
    )


def totals(rows: Sequence[Row]) -> Totals:
    times: Histogram = tuple(sorted((each.response_time, 1.0) for each in rows if each.response_time is not None))
    return Totals(
        traces=len(rows),
        flags={flag: sum(flag in each.flags for each in rows) for flag in ("ok", "error", "throttle", "fault")}
        | {"ok": sum(not each.flags and not each.partial for each in rows)},
        partial=sum(each.partial for each in rows),
        p50=quantile(times, 0.5),
        p90=quantile(times, 0.9),
        p99=quantile(times, 0.99),
        longest=times[-1][0] if times else None,
    )


def _causes(summary: Mapping[str, Any]) -> list[Cause]:
    found = []
    for kind, member in (("fault", "FaultRootCauses"), ("error", "ErrorRootCauses"), ("response time", "ResponseTimeRootCauses")):
        for cause in _objects(summary.get(member)):
            path: list[str] = []
            what = ""
            for service in _objects(cause.get("Services")):
                if service.get("Type") == "client":
                    continue
                path.append(str(service.get("Name") or ""))
                for entity in _objects(service.get("EntityPath")):
                    name = str(entity.get("Name") or "")
                    if name and (not path or path[-1] != name):
                        path.append(name)
                    for exception in _objects(entity.get("Exceptions")):
                        what = ": ".join(str(exception[key]) for key in ("Name", "Message") if exception.get(key))
                    if entity.get("Coverage") is not None:
                        what = f"{100 * float(entity['Coverage']):.0f} % of it"
            if path:
                found.append(Cause(kind, tuple(path), what))
    return found


def _begun(trace_id: str) -> float | None:
    """Where X-Ray gives no start: the second in the id. (X-Ray gives it since 2023.)"""
    parts = trace_id.split("-")
    try:
        return float(int(parts[1], 16))
    except (IndexError, ValueError):
        return None


def _value(annotation: Mapping[str, Any]) -> Any:
    value = mapping(annotation.get("AnnotationValue"))
    found = next((value[key] for key in ("StringValue", "NumberValue", "BooleanValue") if value.get(key) is not None), "")
    # The API has no integers.
    return int(found) if isinstance(found, float) and found.is_integer() else found


def _milliseconds(seconds: Any) -> float | None:
    return 1000 * float(seconds) if isinstance(seconds, (int, float)) else None


def _objects(values: Any) -> list[Mapping[str, Any]]:
    return [each for each in values or [] if isinstance(each, Mapping)]
