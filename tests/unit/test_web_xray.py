"""X-Ray's pages on a real local X-Ray: what they show is what its API says, whatever its data is called, and whether or not it answers."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from services.compare.web.app import create_app
from services.compare.web.vendors.xray import graphs, segments, series
from services.compare.web.vendors.xray.times import stamp
from tests.api.aws_clients import client, put, segment, segment_id, summaries, trace_id
from tests.api.servers import Vendor, hermetic_settings, start_vendor
from tests.api.xray_story import heavy, request, rule, throttled
from tests.ports import free_ports

HOSTILE = "<script>hostileRan=1</script>\"'\\ \u202egnp.exe\x07"
#: X-Ray takes letters, digits, whitespace and _ . : / % & # = + \ - @ in a name, and nothing else.
ODD_NAME = r"C:\svc%22&lt#é=+ \\"
HOSTILE_SHOWN = "&lt;script&gt;hostileRan=1&lt;/script&gt;"


@dataclass
class Story:
    """Three kinds of requests in the last minutes, and an incident before them. ``now``: whole epoch seconds."""

    now: int
    well: list[str]
    faulty: str
    throttled: str
    heavy: str
    hostile: str

    @property
    def range(self) -> dict[str, Any]:
        """The last ten minutes, without the incident."""
        return {"from": stamp(self.now - 600), "to": stamp(self.now + 60)}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def xray(aws: Vendor) -> Any:
    return client(aws, "xray")


@pytest.fixture(scope="module")
def story(xray: Any) -> Story:
    now = int(time.time())
    well = [trace_id(now - 500 + 2 * number) for number in range(120)]
    told = Story(now, well, trace_id(now - 30), trace_id(now - 29), trace_id(now - 1500), trace_id(now - 27))
    documents: list[dict[str, Any]] = []
    for number, trace in enumerate(told.well):
        documents += request(trace, now - 500 + 2 * number, slow=number / 100)
    documents += request(told.faulty, now - 30, fault=True)
    documents[-1]["subsegments"][0]["cause"] = {
        "exceptions": [
            {
                "id": segment_id(),
                "type": "KeyError",
                "message": "no such user",
                "stack": [{"path": "profiles/store.py", "line": 42, "label": "find_user"}],
            }
        ]
    }
    documents += throttled(told.throttled, now - 29)
    documents += heavy(told.heavy, now - 1500)
    documents.append(
        segment(
            told.hostile,
            name=ODD_NAME,
            start_time=now - 27,
            end_time=now - 26.5,
            user=HOSTILE,
            annotations={"odd": HOSTILE},
            metadata={HOSTILE: {HOSTILE: [HOSTILE]}},
            http={"request": {"method": "GET", "url": f"http://x/{HOSTILE}"}, "response": {"status": 500}},
            fault=True,
            cause={"exceptions": [{"id": segment_id(), "type": HOSTILE, "message": HOSTILE, "stack": [{"path": HOSTILE, "line": 1}]}]},
        )
    )
    # With no history, a minute of 60 faults is an incident.
    minute = (now - 3600) // 60 * 60
    for _ in range(60):
        documents.append(segment(trace_id(minute + 1), name="fragile", start_time=minute + 1, end_time=minute + 2, fault=True))
    for first in range(0, len(documents), 10):
        put(xray, *documents[first : first + 10])
    xray.create_group(GroupName="faults", FilterExpression="fault", InsightsConfiguration={"InsightsEnabled": True})
    xray.create_sampling_rule(SamplingRule=rule("special", Priority=5, FixedRate=0.25, Host="*.internal", Attributes={"tenant": "one"}))
    xray.get_sampling_targets(
        SamplingStatisticsDocuments=[
            {"RuleName": "special", "ClientID": "ab" * 12, "Timestamp": now, "RequestCount": 200, "SampledCount": 45, "BorrowCount": 5}
        ]
    )
    return told


@pytest.fixture(scope="module")
def web(aws: Vendor, story: Story) -> FlaskClient:
    return create_app(aws.settings).test_client()


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    page = re.sub(r"<script.*?</script>|<head>.*?</head>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


def data_of(page: str, what: str) -> list[Any]:
    """The JSON in a page's figures or map."""
    return [json.loads(each) for each in re.findall(rf"<figure[^>]*{what}.*?<script[^>]*>(.*?)</script>", page, re.DOTALL)]


def links_of(page: str, words: str) -> list[str]:
    """Addresses of the links with these words."""
    found = re.findall(r'<a\b[^>]*?href="([^"]*)"[^>]*>(.*?)</a>', page, re.DOTALL)
    return [html.unescape(address) for address, inner in found if words in text_of(inner)]


def traces_of(page: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"/vendors/xray/traces/(1-[0-9a-f]{8}-[0-9a-f]{24})", page)))


def get(web: FlaskClient, path: str, status: int = 200, **query: Any) -> str:
    answer = web.get(path if path.startswith("/") else f"/vendors/xray/{path}", query_string=query or None)
    assert answer.status_code == status, text_of(answer.text)
    return answer.text


# -- the map


def test_the_map_and_its_table_have_every_service_with_the_figures_of_the_api(web: FlaskClient, xray: Any, story: Story) -> None:
    page = get(web, "map", **story.range)
    (drawn,) = data_of(page, "data-service-map")
    services = xray.get_service_graph(StartTime=story.now - 600, EndTime=story.now + 60)["Services"]
    # A client for each service that is asked from outside: two of them are called cruddur.
    assert len(drawn["nodes"]) == len(services) - 1 > 5
    assert len(drawn["edges"]) == sum(len(service["Edges"]) for service in services)
    for service in services:
        statistics = service.get("SummaryStatistics", {})
        (node,) = (each for each in drawn["nodes"] if (each["name"], each["kind"]) == (service["Name"], service.get("Type", "service")))
        assert sum(count for _, count in node["shares"]) == statistics.get("TotalCount", 0)
        assert dict(node["shares"]).get("fault", 0) == statistics.get("FaultStatistics", {}).get("TotalCount", 0)
    table = text_of(page)
    assert "profiles" in table
    assert re.search(r"DynamoDB|profile AWS::DynamoDB::Table", table)
    front = next(service for service in services if service["Name"] == "cruddur" and service.get("Type") == "AWS::EC2::Instance")
    total = front["SummaryStatistics"]["TotalCount"]
    assert f"cruddur AWS::EC2::Instance {total} {60 * total / 660:.3g}" in table
    assert "✗" in table
    assert "≋" in table


def test_a_service_is_shown_with_its_figures_and_over_time_and_its_link_finds_its_traces(web: FlaskClient, xray: Any, story: Story) -> None:
    page = get(web, "map", node="profiles", type="AWS::ECS::Container", account="210987654321", **story.range)
    assert 'aria-labelledby="node-name"' in page
    figures = data_of(page, "data-plot")
    windows = next(figure for figure in figures if figure["y"]["label"] == "requests/min")
    counted = sum(sum(series["values"]) for series in windows["series"]) * 60 / 60
    graph = xray.get_service_graph(StartTime=story.now - 600, EndTime=story.now + 60)["Services"]
    total = sum(each["SummaryStatistics"]["TotalCount"] for each in graph if each["Name"] == "profiles")
    assert counted == pytest.approx(total)
    times = next(figure for figure in figures if figure["y"]["unit"] == "percent")
    assert sum(times["series"][0]["values"]) == pytest.approx(100)
    (address,) = links_of(page, "Those with its faults")
    assert traces_of(get(web, address)) == [story.faulty]
    (address,) = links_of(page, "Its traces")
    assert set(traces_of(get(web, address))) <= {*story.well, story.faulty}


def test_a_node_leads_to_a_page_of_its_own_and_to_traces_whatever_it_is_called(web: FlaskClient, story: Story) -> None:
    (drawn,) = data_of(get(web, "map", **story.range), "data-service-map")
    nodes = [node for node in drawn["nodes"] if node["name"] == ODD_NAME or node["client"]]
    assert len(nodes) == 3
    for node in nodes:
        page = get(web, urlsplit(node["href"])._replace(fragment="").geturl())
        assert "No service of this name" not in page
        (address,) = links_of(page, "Its traces")
        assert traces_of(get(web, address)), node


def test_a_group_narrows_the_map_and_what_is_not_there_is_said(web: FlaskClient, story: Story) -> None:
    page = get(web, "map", group="faults", **story.range)
    assert "AWS::SQS::Queue" not in page
    assert '<option value="faults" selected>' in page
    assert "No request reached X-Ray" in get(web, "map", **dict[str, Any]({"from": "2001-09-09T01:46:40", "to": "2001-09-09T01:56:40"}))
    assert "No service of this name" in text_of(get(web, "map", node="nobody", **story.range))
    assert "nowhere" in text_of(get(web, "map", 400, group="nowhere", **story.range))


def test_limits_of_x_ray_on_time_are_said_and_kept(web: FlaskClient) -> None:
    assert "6 hours at most" in get(web, "map", range="24h")
    assert "24 hours at most" in get(web, "traces", range="7d")
    assert "at most" not in get(web, "map", range="6h") + get(web, "traces", range="24h")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"range": "soon"}, "range=soon is no time range"),
        ({"from": "yesterday"}, "from=yesterday is no time"),
        ({"from": "2026-01-05T09:00:00", "to": "2026-01-05T08:00:00"}, "before it begins"),
        ({"from": "2200-01-01T00:00:00", "to": "2200-01-02T00:00:00"}, "1970 to 2106"),
        ({"from": "0001-01-01T00:00:00", "to": "2026-01-05T08:00:00"}, "is no time X-Ray can hold"),
        ({"by": "Luck"}, "by=Luck is none of TraceId, Event, Service"),
    ],
    ids=["range", "from", "order", "future", "past", "by"],
)
def test_a_range_that_is_none_is_a_page_that_says_so(web: FlaskClient, query: dict[str, Any], words: str) -> None:
    assert words in text_of(get(web, "traces", 400, **query))


def test_a_map_of_many_services_has_the_table_first_and_draws_what_is_around_one(web: FlaskClient, xray: Any) -> None:
    start = 1_600_000_000
    calls = [
        {"name": f"leaf{number:03}", "id": segment_id(), "namespace": "remote", "start_time": start, "end_time": start + 0.1}
        for number in range(200)
    ]
    put(
        xray,
        *(
            segment(trace_id(start), name="hub", start_time=start, end_time=start + 1, subsegments=calls[at : at + 50])
            for at in range(0, 200, 50)
        ),
    )
    query: dict[str, Any] = {"from": stamp(start - 60), "to": stamp(start + 60)}
    page = get(web, "map", **query)
    assert not data_of(page, "data-service-map")
    assert "too many for a picture" in page
    assert len(re.findall(r"<th scope=\"row\"><a href=\"/vendors/xray/map", page)) == 100
    (more,) = set(links_of(page, "Next")) & {each for each in links_of(page, "Next") if "services=2" in each}
    assert "leaf150" in get(web, more)
    (drawn,) = data_of(get(web, "map", draw="all", **query), "data-service-map")
    assert len(drawn["nodes"]) == 202
    (around,) = data_of(get(web, "map", node="leaf007", type="remote", **query), "data-service-map")
    assert {node["name"] for node in around["nodes"]} == {"hub", "leaf007"}
    assert "has 3 pages" in text_of(get(web, "map", 404, services="9", **query))


# -- traces


def test_pages_of_traces_are_those_of_the_api_and_end(web: FlaskClient, xray: Any, story: Story) -> None:
    expected = [summary["Id"] for summary in summaries(xray, story.now - 600, story.now + 60)]
    found: list[str] = []
    page = get(web, "traces", **story.range)
    while True:
        found += traces_of(page)
        more = links_of(page, "More")
        if not more:
            break
        assert "token=" in more[0]
        page = get(web, more[0])
    assert found == expected
    assert len(found) > 100


def test_a_trace_in_the_list_has_what_its_summary_has(web: FlaskClient, story: Story) -> None:
    page = get(web, "traces", filter='user = "ada"', **story.range)
    assert traces_of(page) == [story.faulty]
    words = text_of(page)
    for expected in (
        "✗ fault",
        "POST https://cruddur.example/api/messages",
        "502",
        "user ada",
        "4 annotations",
        "retries 2",
    ):
        assert expected in words, expected
    assert "≋ throttle" in text_of(get(web, "traces", filter="throttle", **story.range))


def test_a_group_and_an_expression_go_together(web: FlaskClient, story: Story) -> None:
    assert set(traces_of(get(web, "traces", group="faults", **story.range))) == {story.faulty, story.hostile}
    assert traces_of(get(web, "traces", group="faults", filter='user = "ada" OR user = "grace"', **story.range)) == [story.faulty]


@pytest.mark.parametrize("group", ["", "faults"], ids=["alone", "with-a-group"])
def test_an_expression_that_is_wrong_is_answered_at_its_box_with_the_place(web: FlaskClient, story: Story, group: str) -> None:
    page = get(web, "traces", 400, filter="fault AND\nhttp.status >", group=group, **story.range)
    assert "(line 2, column 14)" in page
    assert re.search(
        r"<textarea[^>]*aria-invalid=\"true\" aria-describedby=\"filter-error\"[^>]*>fault AND\nhttp.status &gt;</textarea>", page
    )
    assert re.search(r'id="filter-error".*?Invalid filter expression at line 2, column 14.*?    http.status &gt;\n +\^', page, re.DOTALL)


def test_a_token_of_another_query_is_refused_in_x_rays_words(web: FlaskClient, story: Story) -> None:
    (more,) = links_of(get(web, "traces", **story.range), "More")
    assert "NextToken" in get(web, more + "&filter=fault", 400)
    assert "NextToken" in get(web, "traces", 400, token="nonsense", **story.range)


def test_every_example_is_an_expression_x_ray_takes(web: FlaskClient, story: Story) -> None:
    page = get(web, "traces", **story.range)
    examples = re.findall(r'<li><a href="([^"]*)" title="[^"]*"><code>', page)
    assert len(examples) > 5
    for address in examples:
        get(web, html.unescape(address))


# -- one trace


def test_a_trace_has_its_timeline_its_exceptions_and_its_map(web: FlaskClient, story: Story) -> None:
    page = get(web, f"traces/{story.faulty}")
    words = text_of(page)
    for expected in ("KeyError", "no such user", "profiles/store.py : 42", "find_user"):
        assert expected in words, expected
    assert len(re.findall(r'class="span-bar', page)) == 5  # cruddur, its call, profiles, its query, the table that is inferred
    (drawn,) = data_of(page, "data-service-map")
    assert {"cruddur", "profiles"} <= {node["name"] for node in drawn["nodes"]}
    (root,) = links_of(re.sub(r"(?s).*Timeline", "", page), "cruddur")[:1]
    shown = text_of(get(web, urlsplit(root)._replace(fragment="").geturl()))
    for expected in ("Annotations", "tenant one", "Metadata: UserData", "handle ada", "request.method POST"):
        assert expected in shown, expected


def test_the_raw_documents_are_the_ones_of_the_api(web: FlaskClient, xray: Any, story: Story) -> None:
    (expected,) = xray.batch_get_traces(TraceIds=[story.faulty])["Traces"]
    answer = web.get(f"/vendors/xray/traces/{story.faulty}/documents.json")
    assert answer.mimetype == "application/json"
    assert json.loads(answer.text)["Segments"] == [json.loads(each["Document"]) for each in expected["Segments"]]


def test_a_trace_is_found_by_either_form_of_its_id(web: FlaskClient, story: Story) -> None:
    plain = story.faulty.removeprefix("1-").replace("-", "")
    assert web.get("/vendors/xray/find", query_string={"id": plain}).location == f"/vendors/xray/traces/{story.faulty}"
    assert story.faulty in get(web, f"traces/{plain}")
    assert "is not a trace id" in text_of(get(web, "find", 404, id="4711"))
    assert "X-Ray has no trace" in text_of(get(web, f"traces/{trace_id()}", 404))
    assert "has no segment or subsegment 4711" in text_of(get(web, f"traces/{story.faulty}", 404, segment="4711"))


def test_a_trace_above_the_limit_says_so_and_is_not_shown_whole(web: FlaskClient, story: Story) -> None:
    answer = web.get(f"/vendors/xray/traces/{story.heavy}")
    assert "LimitExceeded" in answer.text
    assert len(answer.data) < 2_000_000  # of 8 MB
    assert len(web.get(f"/vendors/xray/traces/{story.heavy}/documents.json").data) > 8_000_000


@pytest.mark.parametrize("where", ["filter", "traces", "trace", "node"])
def test_hostile_names_are_text(web: FlaskClient, story: Story, where: str) -> None:
    page = {
        "filter": lambda: get(web, "traces", 400, filter=HOSTILE, **story.range),
        "traces": lambda: get(web, "traces", **story.range),
        "trace": lambda: get(web, f"traces/{story.hostile}"),
        "node": lambda: get(web, "map", node=HOSTILE, group="faults", **story.range),
    }[where]()
    assert HOSTILE_SHOWN in page
    assert "<script>hostile" not in page
    # An address or a field may hold what it says.
    visible = re.sub(r'="[^"]*"|<textarea.*?</textarea>', "", page, flags=re.DOTALL)
    assert "\u202e" not in visible
    assert "\x07" not in visible
    assert "style=" not in page
    assert " onclick" not in page


# -- groups, insights, sampling, account


def test_groups_lead_to_their_traces_and_map(web: FlaskClient, story: Story) -> None:
    page = get(web, "groups", **story.range)
    assert "faults fault ✓ on" in text_of(page)
    (traces,), (of_map,) = links_of(page, "traces of faults"), links_of(page, "map of faults")
    assert set(traces_of(get(web, traces))) == {story.faulty, story.hostile}
    assert '<option value="faults" selected>' in get(web, of_map)


def test_an_insight_is_listed_and_tells_how_it_went(web: FlaskClient, story: Story) -> None:
    page = get(web, "insights", range="6h")
    words = text_of(page)
    assert "closed fragile faults" in words
    assert "60 of 60" in words
    (address,) = re.findall(r'href="(/vendors/xray/insights/[0-9a-f-]{36})"', page)
    shown = get(web, address)
    for expected in ("fragile", "back in its expected range", "60 of 60", "Whom it hit"):
        assert expected in text_of(shown), expected
    (drawn,) = data_of(shown, "data-service-map")
    assert "fragile" in {node["name"] for node in drawn["nodes"]}
    (faults,) = links_of(shown, "Traces with its faults")
    assert len(traces_of(get(web, faults))) == 60
    assert "No such insight" in get(web, "insights/12345678-1234-4234-9234-123456789012", 404)
    assert "is no insight's id" in html.unescape(get(web, "insights/zebra", 404))


def test_insights_are_asked_for_within_thirty_days(web: FlaskClient) -> None:
    get(web, "insights", range="30d")
    assert "30 days" in get(web, "insights", **dict[str, Any]({"from": stamp(time.time() - 60 * 86400)}))


def test_sampling_rules_stand_in_their_order_with_what_they_sampled(web: FlaskClient, story: Story) -> None:
    words = text_of(get(web, "sampling"))
    assert re.search(
        r"5 special service cruddur host \*\.internal attribute tenant one 5 /s 25 % 200 45 5 25 %", words.replace("5/s", "5 /s")
    ), words
    assert words.index("special") < words.index("10000 Default")


def test_the_account_page_has_what_holds_for_all(web: FlaskClient) -> None:
    words = text_of(get(web, "account"))
    for expected in ("NONE", "ACTIVE", "XRay", "Default", "There is none."):
        assert expected in words, expected


# -- an X-Ray that cannot be read

PAGES = ("map", "traces", "groups", "insights", "sampling", "account", f"traces/{'1' * 32}")


@pytest.fixture(scope="module")
def down(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    (port,) = free_ports(1)
    return create_app(hermetic_settings(state_dir=tmp_path_factory.mktemp("down"), aws_port=port)).test_client()


@pytest.fixture(scope="module")
def denied(aws: Vendor, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    settings = hermetic_settings(
        state_dir=tmp_path_factory.mktemp("denied"),
        aws_port=aws.port,
        aws_access_key_id="AKIAWRONG",
        aws_secret_access_key=SecretStr("x" * 40),
    )
    return create_app(settings).test_client()


@pytest.mark.parametrize("path", PAGES, ids=["map", "traces", "groups", "insights", "sampling", "account", "trace"])
def test_x_ray_that_is_down_or_refuses_is_said_with_the_next_step_and_the_rest_stays(
    down: FlaskClient, denied: FlaskClient, path: str
) -> None:
    page = get(down, path, 502)
    assert "X-Ray does not answer" in page
    assert "make status" in page
    assert 'aria-label="Pages of X-Ray"' in page
    page = get(denied, path, 502)
    assert "UnrecognizedClientException" in page
    assert "check AWS_ACCESS_KEY_ID" in page


# -- pure


def test_a_histogram_keeps_every_request_in_its_bins_and_quantiles() -> None:
    histogram = ((0.0, 1.0), (1.0, 2.0), (9.0, 4.0), (1000.0, 1.0))
    assert sum(count for _, count in graphs.bins(histogram)) == 8
    assert [graphs.quantile(histogram, share) for share in (0.1, 0.25, 0.5, 0.875, 0.99)] == [0.0, 1.0, 9.0, 9.0, 1000.0]
    assert graphs.quantile((), 0.5) is None
    assert graphs.bins(()) == []
    assert graphs.histogram_figure("nothing", ("service", "", ())) is None


def test_a_rate_has_as_many_digits_as_say_something() -> None:
    assert [graphs.rate(*each) for each in ((1, 21600), (90, 60), (1234, 60), (0, 60))] == ["0.00278", "90", "1,234", "0"]


def test_time_windows_without_requests_are_zero_and_have_no_response_time() -> None:
    windows = [{"Timestamp": 120, "ServiceSummaryStatistics": {"OkCount": 2, "TotalResponseTime": 1.0}}]
    requests, average = series.figures(windows, 0, 240, 60)
    assert list(requests.xs) == [0, 60, 120, 180]
    assert list(requests.series[0].values) == [0, 0, 2, 0]
    assert list(average.series[0].values) == [None, None, 500.0, None]
    assert series.figures([], 0, 240, 60) == []


def test_documents_of_any_kind_make_a_timeline() -> None:
    deep: dict[str, Any] = {"id": "0", "name": "deep"}
    inner = deep
    for number in range(1, 200):
        inner["subsegments"] = [{"id": f"d{number}", "name": f"level {number}", "start_time": number}]
        inner = inner["subsegments"][0]
    odd = [
        "no JSON", "[1]", '{"id": 5, "name": null, "start_time": "soon", "end_time": true, "subsegments": [1, {}], "http": [], "cause": 7}',
        '{"id": "a", "parent_id": "b", "name": "circle"}', '{"id": "b", "parent_id": "a", "name": "circle"}',
        '{"id": "self", "parent_id": "self", "name": "own parent"}', '{"id": "cut", "subsegments": ' + "[" * 5000 + "]" * 5000 + "}",
        json.dumps(deep),
    ]  # fmt: skip
    lines = segments.timeline(odd)
    assert len(lines.raws) == len(odd)
    assert [raw.text for raw in lines.raws[:2]] == odd[:2]
    assert {"a", "b", "self", "5", "d199"} <= {entity.id for entity in lines.entities}
    assert lines.find("d199").depth == 199  # type: ignore[union-attr]
    for entity in lines.entities:
        x, width = lines.bar(entity)
        assert 0 <= x <= 1000
        assert 0 <= width <= 1000
        assert isinstance(entity.blocks, list)
        assert entity.exceptions == []


def test_a_finished_segment_wins_over_its_version_in_progress() -> None:
    versions = ['{"id": "a", "start_time": 1, "end_time": 2}', '{"id": "a", "start_time": 1, "in_progress": true}']
    for order in (versions, versions[::-1]):
        (entity,) = segments.timeline(order).entities
        assert entity.end == 2
        assert not entity.in_progress
