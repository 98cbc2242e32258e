"""No body, query or address makes the local Rollbar fail: an item, or an error in Rollbar's form, and nothing in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from localstack.rollbar.models import Rollbar
from localstack.rollbar.routes import Scope, create_app

HEADERS = {"X-Rollbar-Access-Token": "all"}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollbar]:
    rollbar = Rollbar(tmp_path_factory.mktemp("fuzz") / "rollbar.duckdb", now=lambda: 1_740_000_000.0)
    yield rollbar
    rollbar.close()


@pytest.fixture(scope="module")
def client(state: Rollbar) -> FlaskClient:
    app = create_app(state, {"all": frozenset(Scope)}, calls_a_minute=10**9)
    app.testing = True  # an exception in a view is the test's, not a 500
    return app.test_client()


#: Halves of surrogate pairs included: JSON can escape them, Unicode text cannot hold them.
any_text = st.text(alphabet=st.characters(exclude_categories=()), max_size=20)

anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
frame = st.fixed_dictionaries({}, optional={"filename": any_text | anything, "method": st.text(max_size=9) | anything})
trace = st.fixed_dictionaries(
    {},
    optional={
        "frames": st.lists(frame, max_size=3) | anything,
        "exception": st.fixed_dictionaries({}, optional={"class": st.text(max_size=9) | anything, "message": anything}) | anything,
    },
)
body = st.fixed_dictionaries(
    {},
    optional={
        "trace": trace | anything,
        "trace_chain": st.lists(trace, max_size=2) | anything,
        "message": st.fixed_dictionaries({}, optional={"body": any_text | anything}) | anything,
        "crash_report": st.fixed_dictionaries({}, optional={"raw": st.text(max_size=50)}) | anything,
    },
)
keys = ("uuid", "timestamp", "level", "platform", "framework", "title", "fingerprint", "request", "server", "custom", "person", "metadata")
data = st.fixed_dictionaries({}, optional={"environment": any_text | anything, "body": body | anything} | dict.fromkeys(keys, anything))


def answered(client: FlaskClient, state: Rollbar, raw: bytes, content_type: str) -> None:
    before = state.tallies()
    answer = client.post("/api/1/item/", data=raw, content_type=content_type, headers=HEADERS)
    document = answer.get_json()
    after = state.tallies()
    if answer.status_code == 200:
        assert document["err"] == 0
        assert isinstance(document["result"]["uuid"], str)
        assert after["occurrences"] + after["discarded"] == before["occurrences"] + before["discarded"] + 1
        assert client.get("/api/1/instances?limit=1", headers=HEADERS).status_code == 200
        assert client.get("/api/1/items?limit=1", headers=HEADERS).status_code == 200
    else:
        assert answer.status_code in (400, 422)
        assert document["err"] == 1
        assert document["message"]
        assert after == before, "nothing is stored with an error"


@settings(deadline=None, max_examples=200)
@given(data=data | anything)
def test_any_json_is_an_item_or_an_error(client: FlaskClient, state: Rollbar, data: Any) -> None:
    answered(client, state, json.dumps({"data": data}).encode(), "application/json")


@settings(deadline=None, max_examples=100)
@given(
    raw=st.binary(max_size=200),
    content_type=st.sampled_from(["application/json", "application/x-www-form-urlencoded", "", "multipart/form-data"]),
)
def test_any_bytes_are_an_error(client: FlaskClient, state: Rollbar, raw: bytes, content_type: str) -> None:
    answered(client, state, raw, content_type)


@pytest.mark.parametrize("path", ["/items", "/instances", "/deploys"])
def test_no_page_and_limit_together_are_too_large_a_number(client: FlaskClient, path: str) -> None:
    """Each alone fits into the database's integers; their product must too."""
    for page in (2**53 - 1, 2**53 // 5000):
        answer = client.get(f"/api/1{path}", query_string={"page": page, "limit": 5000}, headers=HEADERS)
        assert answer.status_code in (200, 422), answer.get_data()


@settings(deadline=None, max_examples=100)
@given(
    path=st.sampled_from(["/items", "/instances", "/item", "/deploys", "/reports/occurrence_counts", "/reports/top_active_items"]),
    query=st.dictionaries(
        st.sampled_from(
            ["page", "limit", "lastId", "level", "status", "environment", "query", "ids", "uuid", "counter", "hours", "buckets"]
        ),
        st.text(max_size=12) | st.integers().map(str),
        max_size=4,
    ),
)
def test_any_query_is_answered(client: FlaskClient, path: str, query: dict[str, str]) -> None:
    answer = client.get(f"/api/1{path}", query_string=query, headers=HEADERS)
    assert answer.status_code in (200, 404, 422)
    assert answer.get_json()["err"] == (0 if answer.status_code == 200 else 1)


@settings(deadline=None, max_examples=100)
@given(
    changes=anything
    | st.fixed_dictionaries({}, optional=dict.fromkeys(("status", "level", "title", "resolved_in_version", "assigned_user_id"), anything))
)
def test_any_change_is_answered(client: FlaskClient, changes: Any) -> None:
    for path in ("/api/1/item/272500001", "/api/1/deploy/12000001"):
        answer = client.patch(path, data=json.dumps(changes), headers=HEADERS)
        assert answer.status_code in (200, 404, 422)


def test_the_rate_limit_refuses_what_is_over_it_and_begins_anew_each_minute(tmp_path: Any) -> None:
    clock = [1_740_000_030.0]
    rollbar = Rollbar(tmp_path / "rollbar.duckdb", now=lambda: clock[0])
    client = create_app(rollbar, {"all": frozenset(Scope)}, calls_a_minute=3, now=lambda: clock[0]).test_client()
    item = {"data": {"environment": "test", "body": {"message": {"body": "x"}}}}
    answers = [client.post("/api/1/item/", json=item, headers=HEADERS) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["X-Rate-Limit-Remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    assert answers[3].get_json()["err"] == 1
    reset = int(answers[0].headers["X-Rate-Limit-Reset"])
    assert int(answers[0].headers["X-Rate-Limit-Remaining-Seconds"]) == reset - clock[0] == 30
    clock[0] = float(reset)
    assert client.post("/api/1/item/", json=item, headers=HEADERS).status_code == 200
    assert rollbar.tallies()["occurrences"] == 4
    rollbar.close()
