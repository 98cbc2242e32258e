"""CloudWatch's pages on a real local AWS: groups, streams, tail, search, metrics; what means ill stays text."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from services.compare.readers.aws import client as aws_client
from services.compare.web.vendors.cloudwatch.emf import metrics
from services.compare.web.vendors.cloudwatch.lines import line
from tests.api.servers import Vendor, start_vendor
from tests.unit.web_client import said, web

TRACE = "695b8f00" + "0" * 23 + "1"
HOSTILE = "<script data-hostile>alert(1)</script>\x07\u202eevil"
GROUP, OTHER = "cruddur", "/parallax/metrics"


def put(vendor: Vendor, group: str, *messages: str, stream: str = "one", at: float | None = None) -> None:
    """Write lines, each a millisecond after the one before."""
    logs = aws_client(vendor.settings, "logs")
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    start = int((time.time() - 60 if at is None else at) * 1000)
    events = [{"timestamp": start + number, "message": message} for number, message in enumerate(messages)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("aws")) as vendor:
        put(vendor, GROUP, json.dumps({"event": "request", "status": 503, "trace_id": TRACE, "run": "20260105-080000-ab12"}), "plain words")
        aws_client(vendor.settings, "logs").put_retention_policy(logGroupName=GROUP, retentionInDays=7)
        directive = {"Namespace": "Cruddur", "Dimensions": [["route"]], "Metrics": [{"Name": "duration", "Unit": "Milliseconds"}]}
        put(
            vendor,
            OTHER,
            *(
                json.dumps({"_aws": {"CloudWatchMetrics": [directive]}, "route": route, "duration": {"Count": 2, "Sum": 2 * number}})
                for number in (10, 20)
                for route in ("/a", "/b")
            ),
        )
        yield vendor


@pytest.fixture(scope="module")
def client(aws: Vendor, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    return web(tmp_path_factory.mktemp("state"), aws_port=aws.port)


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """No vendor answers."""
    return web(tmp_path_factory.mktemp("nobody"))


def test_groups_and_streams(client: FlaskClient) -> None:
    page = said(client, "/vendors/cloudwatch")
    assert f"{GROUP} " in page
    assert "7 days" in page
    assert "never expires" in page
    assert "No log group begins with that." in said(client, "/vendors/cloudwatch?prefix=zzz")
    assert "Newest events first" in said(client, f"/vendors/cloudwatch/streams?group={GROUP}")


def test_a_stream_is_read_in_both_directions(aws: Vendor, client: FlaskClient) -> None:
    put(aws, "long", *(f"line-{number:03d}" for number in range(250)))
    newest = client.get("/vendors/cloudwatch/events?group=long&stream=one").text
    assert ("line-249" in newest, "line-149" in newest) == (True, False)
    older = re.search(r'rel="prev" href="([^"]+)"', newest)
    assert older is not None
    before = client.get(older[1].replace("&amp;", "&")).text
    assert ("line-249" in before, "line-149" in before, "line-050" in before) == (False, True, True)
    assert "line-000" in client.get("/vendors/cloudwatch/events?group=long&stream=one&from=head").text


def test_search_goes_by_time_in_the_order_asked_for_page_by_page(aws: Vendor, client: FlaskClient) -> None:
    put(aws, "paged", *(f"line-{number:03d}" for number in range(150)))
    seen: list[str] = []
    address = "/vendors/cloudwatch/search?group=paged&order=oldest&range=1h"
    while address:
        text = client.get(address).text
        seen += re.findall(r"line-\d{3}", text)
        onward = re.search(r'rel="next" href="([^"]+)"', text)
        address = onward[1].replace("&amp;", "&") if onward else ""
    assert seen == [f"line-{number:03d}" for number in range(150)]
    assert "line-149" in client.get("/vendors/cloudwatch/search?group=paged").text, "newest first"
    nothing = said(client, "/vendors/cloudwatch/search?group=paged&range=custom&from=2026-01-01T00:00&to=2026-01-01T01:00")
    assert "No line from 2026-01-01 00:00:00 to 2026-01-01 01:00:00 UTC." in nothing


def test_a_pattern_that_the_vendor_does_not_take_is_told_in_its_words(client: FlaskClient) -> None:
    assert "filterPattern is not implemented by the local CloudWatch Logs yet" in said(
        client, f"/vendors/cloudwatch/search?group={GROUP}&pattern=words"
    )


def test_a_term_in_quotes_is_looked_for_by_the_page_where_the_vendor_takes_no_patterns(client: FlaskClient) -> None:
    """The page of one request leads here, to the lines that have its trace id."""
    found = said(client, f"/vendors/cloudwatch/search?group={GROUP}&pattern=%22plain+words%22")
    assert "1 line on this page" in found
    assert "plain words" in found
    assert "has no filter patterns yet" in found
    assert "No line matches" in said(client, f"/vendors/cloudwatch/search?group={GROUP}&pattern=%22never+written%22")


def test_tail_begins_with_the_newest_and_then_has_what_was_ingested_since(aws: Vendor, client: FlaskClient) -> None:
    text = client.get(f"/vendors/cloudwatch/tail?group={GROUP}").text
    assert "plain words" in text
    since = re.search(r'data-since="(\d+)"', text)
    assert since is not None
    put(aws, GROUP, "came later", at=time.time())
    more = client.get(f"/vendors/cloudwatch/tail/lines?group={GROUP}&since={int(since[1]) + 1}").text
    assert ("came later" in more, "plain words" in more) == (True, False)
    again = re.search(r'data-since="(\d+)"', more)
    assert again is not None
    assert int(again[1]) > int(since[1])


def test_a_line_of_a_failure_is_marked_and_can_be_opened(client: FlaskClient) -> None:
    text = client.get(f"/vendors/cloudwatch/search?group={GROUP}").text
    assert 'class="line failed"' in text
    assert "&#34;status&#34;: 503" in text, "indented JSON"


def test_metrics_are_read_from_lines_and_drawn(client: FlaskClient) -> None:
    page = said(client, "/vendors/cloudwatch/metrics?metric=duration")
    assert "4 lines read" in page
    assert "duration, mean of 1 s" in page
    assert "route=/a Cruddur Milliseconds 2 4 20" in page, "two lines, four values, the last mean"
    assert "CloudWatch lists none." in page
    assert "None of these lines holds a metric nothing" in said(client, "/vendors/cloudwatch/metrics?metric=nothing")


def test_what_means_ill_stays_text(aws: Vendor, client: FlaskClient) -> None:
    put(
        aws,
        "hostile",
        HOSTILE,
        json.dumps({HOSTILE: HOSTILE, "trace_id": HOSTILE, "run": HOSTILE}),
        "M" * 300_000,
        stream="<b data-hostile>",
    )
    for address in (
        "/tail?group=hostile",
        "/search?group=hostile",
        "/streams?group=hostile",
        "/events?group=hostile&stream=<b data-hostile>",
    ):
        text = client.get(f"/vendors/cloudwatch{address}").text
        assert "data-hostile&gt;" in text, address
        assert "<script data-hostile" not in text, address
        assert "<b data-hostile" not in text, address
        assert not set(text) & {"\x07", "\u202e"}, address
        assert len(text) < 100_000, f"{address}: 300,000 characters were not cut"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("streams", 400),
        ("events?group=cruddur", 400),
        ("streams?group=nobody", 404),
        ("events?group=cruddur&stream=nobody", 404),
        ("search?group=nobody", 404),
        ("tail?group=nobody", 404),
        ("tail/lines?group=cruddur&since=soon", 400),
        ("search?order=random", 400),
        ("search?range=yesterday", 400),
        ("search?range=custom&from=noon", 400),
        ("search?range=custom&from=2026-01-02&to=2026-01-01", 400),
        ("search?range=20200101-000000-0000", 404),
    ],
)
def test_what_is_not_there_or_cannot_be_meant_is_a_page_that_says_so(client: FlaskClient, path: str, status: int) -> None:
    assert "All runs" in said(client, f"/vendors/cloudwatch/{path}", status)


@pytest.mark.parametrize(
    "path", ["?token=nonsense", "/search?group=cruddur&token=nonsense", f"/streams?group={'x' * 600}", "/search?group=%20"]
)
def test_what_the_vendor_refuses_is_told(client: FlaskClient, path: str) -> None:
    assert "CloudWatch Logs " in said(client, f"/vendors/cloudwatch{path}")
    assert 'class="problem"' in client.get(f"/vendors/cloudwatch{path}").text


@pytest.mark.parametrize("path", ["", "/streams?group=x", "/events?group=x&stream=y", "/tail?group=x", "/search?group=x", "/metrics"])
def test_a_cloudwatch_that_is_down_is_told_and_the_page_is_there(nobody: FlaskClient, path: str) -> None:
    assert "CloudWatch Logs does not answer" in said(nobody, f"/vendors/cloudwatch{path}")


def test_a_key_that_may_not_read_is_told(aws: Vendor, tmp_path: Path) -> None:
    client = web(tmp_path, aws_port=aws.port, aws_access_key_id="AKIANOBODY0000000000")
    page = said(client, "/vendors/cloudwatch")
    assert "CloudWatch Logs does not let this key read (UnrecognizedClientException" in page
    assert "Next: check AWS_ACCESS_KEY_ID and its policy" in page


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"_aws": 1}, id="no object"),
        pytest.param(
            {"_aws": {"CloudWatchMetrics": [3, {"Metrics": 4}, {"Dimensions": [5], "Metrics": [6, {"Name": []}]}]}}, id="wrong types"
        ),
        pytest.param({"_aws": {"CloudWatchMetrics": [{"Metrics": [{"Name": "m"}]}]}, "m": "text"}, id="no number"),
        pytest.param({"_aws": {"CloudWatchMetrics": [{"Metrics": [{"Name": "m"}]}]}, "m": 10**400}, id="huge"),
    ],
)
def test_what_only_resembles_a_metric_is_none(document: Any) -> None:
    assert metrics([(0.0, document), (0.0, None)]) == []


@pytest.mark.parametrize(("value", "mean"), [(5, 5.0), ([1, 2, 3], 2.0), ({"Count": 4, "Sum": 10, "Min": 0, "Max": 9}, 2.5)])
def test_values_of_each_documented_form(value: Any, mean: float) -> None:
    document = {"_aws": {"CloudWatchMetrics": [{"Dimensions": [[], ["a"]], "Metrics": [{"Name": "m"}]}]}, "m": value, "a": "b"}
    (metric,) = metrics([(7.5, document)])
    assert (metric.label, metric.points[0].mean, metric.means(5)) == ("a=b", mean, {5.0: mean})


@pytest.mark.parametrize("message", ["", "{", "{" * 5_000, "[1]", "null", '{"attributes": 3, "run": [], "status": "500"}'])
def test_a_message_of_any_form_is_a_line(message: str) -> None:
    shown = line({"timestamp": 0, "message": message})
    assert (shown.trace_id, shown.run, shown.bad) == (None, None, False)
