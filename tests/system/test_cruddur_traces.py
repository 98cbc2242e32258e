"""One request has one trace id and one sampling decision, whatever headers it came with and whichever backends are on."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests import cruddur_process, cruddur_sinks
from tests.ports import free_port
from tests.waiting import until

USER = "/api/activities/@ada.abbott"
HOME = "/api/activities/home"


@dataclass
class World:
    sinks: cruddur_sinks.Sinks
    cruddur: cruddur_process.Service
    profiles: cruddur_process.Service

    @property
    def seen(self) -> cruddur_sinks.Seen:
        return self.sinks.seen

    def get(self, target: str, **headers: str) -> requests.Response:
        response = requests.get(f"{self.cruddur.url}{target}", headers=headers, timeout=20)
        assert response.status_code == 200, response.text
        return response

    def stop(self) -> None:
        """End both services, so that all there is has arrived."""
        assert self.cruddur.stop() == 0
        assert self.profiles.stop() == 0


@contextmanager
def _world(directory: Path, rate: float, **settings: str) -> Iterator[World]:
    with cruddur_sinks.listening(rate) as sinks:
        port = free_port()
        environment = {
            **sinks.environment(),
            "BACKENDS": "honeycomb,xray,cloudwatch,rollbar",
            "SANDBOX": "true",
            "MODE": "offline",
            "DATABASE_URL": "",
            "PROFILES_TIMEOUT": "10",
            "PROFILES_PORT": str(port),
            "PROFILES_URL": f"http://127.0.0.1:{port}",
            **settings,
        }
        with (
            cruddur_process.running("profiles", port, environment, directory) as profiles,
            cruddur_process.running("cruddur", free_port(), environment, directory) as cruddur,
        ):
            world = World(sinks, cruddur, profiles)
            if "xray" in environment["BACKENDS"]:
                # Rules come by polling. With a rate of 0 the fallback's yes shows that they are not there yet, and the other way round.
                until(lambda: _follows_rules(world, rate), 20, "sampling rules")
            yield world


def _follows_rules(world: World, rate: float) -> bool:
    answers = {world.get("/api/health-check", **_xray(_trace(), "?")).headers["X-Amzn-Trace-Id"][-1] for _ in range(8)}
    return answers == {"1"} if rate == 1 else answers == {"0"} if rate == 0 else len(answers) == 2


def _trace() -> str:
    return f"{int(time.time()):08x}{secrets.token_hex(12)}"


def _xray(trace: str, sampled: str, parent: str = "") -> dict[str, str]:
    header = f"Root=1-{trace[:8]}-{trace[8:]}" + (f";Parent={parent}" if parent else "") + (f";Sampled={sampled}" if sampled else "")
    return {"X-Amzn-Trace-Id": header}


def _segments(seen: cruddur_sinks.Seen) -> dict[str, set[str]]:
    """Trace ids by segment name."""
    found: dict[str, set[str]] = {"Cruddur": set(), "Profiles": set()}
    for document in seen.segments:
        found[document["name"]].add(document["trace_id"][2:].replace("-", ""))
    return found


def _servers(seen: cruddur_sinks.Seen) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"cruddur": set(), "profiles": set()}
    for span in seen.spans:
        if span.kind == 2:
            found[span.service].add(span.trace_id)
    return found


def test_whatever_the_headers_say_there_is_one_trace(tmp_path: Path) -> None:
    w3c, parent = _trace(), secrets.token_hex(8)
    other = _trace()
    callers = {
        "none": ({}, None),
        "w3c": ({"traceparent": f"00-{w3c}-{parent}-01"}, w3c),
        "xray": (_xray(other, "1", parent), other),
        "xray upper case": (_xray((upper := _trace()).upper(), "1", parent.upper()), upper),
        "xray without a parent": (_xray(alone := _trace(), "1"), alone),
        "xray undecided": (_xray(asking := _trace(), "?"), asking),
        "xray undecided with a parent": (_xray(asking2 := _trace(), "?", parent), asking2),
        "xray silent": (_xray(silent := _trace(), ""), silent),
        "both, different": ({"traceparent": f"00-{(wins := _trace())}-{parent}-01", **_xray(_trace(), "1", parent)}, wins),
        "broken w3c": ({"traceparent": "00-nonsense-01", **_xray(whole := _trace(), "1", parent)}, whole),
        "broken both": ({"traceparent": f"00-{'0' * 32}-{parent}-01", "X-Amzn-Trace-Id": "Root=1-zz;Parent;Sampled=1"}, None),
    }
    with _world(tmp_path, rate=1) as world:
        answered = {name: world.get(USER, **headers).headers for name, (headers, _) in callers.items()}
        failing = requests.get(f"{world.cruddur.url}{HOME}", headers={"X-Parallax-Fault": "exception"}, timeout=20)
        world.stop()
        seen = world.seen
    for name, (_, trace) in callers.items():
        headers = answered[name]
        found = re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-01", headers["traceresponse"])
        assert found, name
        assert trace in (None, found[1]), name
        trace = found[1]
        # X-Ray takes it: the first eight digits are the time.
        assert abs(int(trace[:8], 16) - time.time()) < 600, name
        assert headers["X-Amzn-Trace-Id"].startswith(f"Root=1-{trace[:8]}-{trace[8:]}"), name
        assert all(trace in traces for traces in (*_segments(seen).values(), *_servers(seen).values())), name
        assert [line["path"] for line in seen.lines if line["trace_id"] == trace] == [USER], name
        assert len([log for log in seen.logs if log.trace_id == trace]) == 1, name
        roots = [span for span in seen.spans if span.trace_id == trace and span.service == "cruddur" and span.kind == 2]
        has_parent = name in ("w3c", "xray", "xray upper case", "xray undecided with a parent", "both, different", "broken w3c")
        assert [root.parent_id for root in roots] == ([parent] if has_parent else [""]), name
    trace = failing.headers["traceresponse"].split("-")[1]
    assert [item["custom"]["trace_id"] for item in seen.items] == [trace]
    assert failing.headers["X-Amzn-Trace-Id"] == f"Root=1-{trace[:8]}-{trace[8:]}"


def test_a_caller_who_says_no_is_obeyed_and_log_lines_go_out_all_the_same(tmp_path: Path) -> None:
    traces = [_trace(), _trace()]
    with _world(tmp_path, rate=1) as world:
        answers = [
            world.get(USER, traceparent=f"00-{traces[0]}-{'a' * 16}-00", **_xray(traces[0], "1", "b" * 16)),
            world.get(USER, **_xray(traces[1], "0", "b" * 16)),
        ]
        world.stop()
        seen = world.seen
    assert [answer.headers["traceresponse"][-2:] for answer in answers] == ["00", "00"]
    for trace in traces:
        assert not any(trace in found for found in (*_segments(seen).values(), *_servers(seen).values()))
        assert len([line for line in seen.lines if line["trace_id"] == trace]) == 1
        assert len([log for log in seen.logs if log.trace_id == trace]) == 1


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_rules_decide_for_both_tracers_and_both_services_alike(rate: float, tmp_path: Path) -> None:
    with _world(tmp_path, rate=rate) as world:
        asked = {(trace := _trace()): world.get(USER, **_xray(trace, "?")).headers for _ in range(40)}
        world.stop()
        seen = world.seen
    sampled = {trace for trace, headers in asked.items() if headers["X-Amzn-Trace-Id"].endswith("Sampled=1")}
    assert {trace for trace, headers in asked.items() if headers["traceresponse"].endswith("-01")} == sampled
    assert {trace for trace, headers in asked.items() if headers["X-Amzn-Trace-Id"].endswith("Sampled=0")} == set(asked) - sampled
    assert all(headers["X-Amzn-Trace-Id"].startswith(f"Root=1-{trace[:8]}-{trace[8:]};") for trace, headers in asked.items())
    for found in (*_segments(seen).values(), *_servers(seen).values()):
        assert found & set(asked) == sampled
    assert len(sampled) in (range(40, 41) if rate == 1 else range(1) if rate == 0 else range(2, 39))


def test_without_opentelemetry_the_xray_sdk_still_has_the_callers_trace(tmp_path: Path) -> None:
    yes, no, asking = _trace(), _trace(), _trace()
    with _world(tmp_path, rate=1, BACKENDS="xray", XRAY_PATHS="sdk") as world:
        world.get(USER, traceparent=f"00-{yes}-{'a' * 16}-01")
        world.get(USER, traceparent=f"00-{no}-{'a' * 16}-00")
        answer = world.get(USER, **_xray(asking, "?"))
        world.stop()
        seen = world.seen
    assert answer.headers["X-Amzn-Trace-Id"] == f"Root=1-{asking[:8]}-{asking[8:]};Sampled=1"
    for found in _segments(seen).values():
        assert {yes, asking} <= found
        assert no not in found
    assert not seen.spans


def test_without_any_tracer_log_lines_and_items_have_the_callers_trace(tmp_path: Path) -> None:
    trace = _trace()
    with _world(tmp_path, rate=1, BACKENDS="cloudwatch,rollbar") as world:
        headers = {"traceparent": f"00-{trace}-{'a' * 16}-01", "baggage": "run=r1"}
        assert world.get(HOME, **headers).headers.get("traceresponse") is None
        requests.get(f"{world.cruddur.url}/rollbar/test", headers=headers, timeout=20)
        requests.get(f"{world.cruddur.url}/rollbar/test", timeout=20)
        world.stop()
        seen = world.seen
    assert sorted((line["event"], line["trace_id"], line["run"]) for line in seen.lines if line.get("run")) == [
        ("home", trace, "r1"),
        ("request", trace, "r1"),
        ("request", trace, "r1"),
    ]
    assert sorted((log.event, log.trace_id) for log in seen.logs if "run" in log.attributes) == [
        ("home", trace),
        ("request", trace),
        ("request", trace),
    ]
    assert sorted("run" in item["custom"] for item in seen.items) == [False, True]
    assert all(re.fullmatch("[0-9a-f]{32}", item["custom"]["trace_id"]) for item in seen.items)


def test_only_a_well_formed_run_becomes_an_attribute(tmp_path: Path) -> None:
    with _world(tmp_path, rate=1, BACKENDS="honeycomb") as world:
        for baggage in ("run=ok-1", "run=a%20b", f"run={'x' * 65}", "run=", "other=1", "run=ok-2;property=1,other=2", "run=ok%2D3"):
            world.get(USER, traceparent=f"00-{_trace()}-{'a' * 16}-01", baggage=baggage)
        world.stop()
        seen = world.seen
    runs = {"ok-1", "ok-2", "ok-3"}
    assert {span.attributes.get("run") for span in seen.spans} == runs | {None}
    assert {
        p.attributes.get("run") for p in seen.points if p.metric == "http.server.request.duration" and p.service == "cruddur"
    } == runs | {None}
    assert {span.attributes.get("run") for span in seen.spans if span.service == "profiles"} == runs | {None}
    assert not any("other" in span.attributes for span in seen.spans)
