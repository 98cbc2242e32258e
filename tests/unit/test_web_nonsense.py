"""Whatever an address says is answered with a page: every route with nonsense for each part of its path and each parameter that it reads.

No vendor answers here: a page that needs one says so (502), and none fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
from flask import Flask, Request
from flask.testing import FlaskClient
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.routing import Rule

from services.compare.web import security
from services.compare.web.app import create_app
from tests import compared_runs
from tests.api.servers import hermetic_settings
from tests.ports import free_ports

#: Too much, too little or something else for a page's number, a limit, a time, an id, a pattern, a name, an address, a line of a header.
NONSENSE: Final = (
    "",
    "-1",
    "9" * 400,
    "1e999",
    "nan",
    "\u00b2",
    "../../etc/passwd",
    "a\x00b\r\nX-Injected: yes\x1b[31m\u202e",
    "\ud800",
    "'\"><script>{{ 7 * 7 }}[(*\\",
    "0001-01-01T00:00:00",
    "9999-12-31T23:59:59",
    "x" * 20_000,
)
#: What stands for the parts of a path that are not nonsense.
PARTS: Final = {
    "run_id": compared_runs.RUN,
    "other": compared_runs.RUN,
    "trace_id": compared_runs.planned(compared_runs.RUN, 1)[0].trace_id,
    "trace": compared_runs.planned(compared_runs.RUN, 1)[0].trace_id,
    "backend": "xray",
    "transport": "sdk",
    "reference": "f" * 16,
    "slug": "cruddur",
    "insight_id": "00000000-0000-0000-0000-000000000000",
    "item_id": "1",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "occurrence_id": "1",
    "filename": "css/base.css",
}
#: With a beginning, a page reads the end of its time, too.
FROM: Final = {"from": "2026-01-05T08:00:00"}
#: Answers that are pages. A page that cannot ask its vendor is one, too.
PAGES: Final = {200, 204, 301, 302, 308, 400, 403, 404, 405, 409, 413, 502, 503, 504}


class Asked(ImmutableMultiDict[str, str]):
    """The parameters of an address; which of them any page has read."""

    names: Final[set[str]] = set()

    def __getitem__(self, key: str) -> str:
        self.names.add(key)
        return super().__getitem__(key)

    def get(self, key: str, *arguments: Any, **named: Any) -> Any:
        self.names.add(key)
        return super().get(key, *arguments, **named)

    def getlist(self, key: str, *arguments: Any, **named: Any) -> Any:
        self.names.add(key)
        return super().getlist(key, *arguments, **named)


class AskedRequest(Request):
    parameter_storage_class = Asked


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    ports = dict(zip(("aws_port", "honeycomb_port", "rollbar_port"), free_ports(3), strict=True))
    settings = hermetic_settings(state_dir=tmp_path_factory.mktemp("state"), **ports)
    compared_runs.make_run(settings, 20)
    app = create_app(settings)
    app.request_class = AskedRequest
    return app


def path(rule: Rule, **parts: str) -> str:
    """The address of a route, its parts as given or else what stands for them."""

    def part(match: re.Match[str]) -> str:
        name = match[1].rpartition(":")[2]
        return quote(parts.get(name, PARTS[name]), errors="surrogatepass", safe="/")

    return re.sub(r"<([^>]+)>", part, rule.rule)


def addresses(rule: Rule, parameters: set[str]) -> Iterator[str]:
    if "GET" in (rule.methods or ()):
        # A redirect must not hand them to url_for, to which they are orders.
        orders = "endpoint=x&values=x&_external=1&_scheme=javascript&_anchor=x&_method=x"
        yield f"{path(rule)}?{orders}"
        yield path(rule, trace_id=f"1-{PARTS['trace_id'][:8]}-{PARTS['trace_id'][8:]}") + f"?{orders}"
    for nonsense in NONSENSE:
        for name in sorted(rule.arguments):
            yield path(rule, **{name: nonsense})
        if "GET" in (rule.methods or ()):
            for name in sorted(parameters):
                yield f"{path(rule)}?{urlencode(FROM | {name: nonsense}, errors='surrogatepass')}"


def fault(client: FlaskClient, method: str, address: str) -> str | None:
    answer = client.open(address, method=method, buffered=True, data={"profile": "nonsense"} if method == "POST" else None)
    short = f"{method} {address[:200]}: {answer.status_code}"
    if answer.status_code not in PAGES:
        return f"{short} {re.sub(r'<[^>]*>', ' ', answer.text)[:2000]}"
    if answer.status_code in (301, 302, 308) and not answer.headers["Location"].startswith(("/", "http://localhost/")):
        return f"{short} leads to {answer.headers['Location']}"
    if answer.headers.get("Content-Security-Policy") != security.POLICY or "X-Injected" in answer.headers:
        return f"{short} {answer.headers}"
    return None


def test_nonsense_in_an_address_is_answered_with_a_page(app: Flask) -> None:
    client = app.test_client()
    faults: list[str] = []
    for rule in app.url_map.iter_rules():
        method = "GET" if "GET" in (rule.methods or ()) else "POST"
        Asked.names.clear()
        # With values that are fine, the page reads on to its last parameter.
        good = (path(rule), f"{path(rule)}?{urlencode(FROM)}") if method == "GET" else ()
        faults += filter(None, (fault(client, method, address) for address in good))
        faults += filter(None, (fault(client, method, address) for address in addresses(rule, set(Asked.names))))
    assert not faults, "\n".join(faults)
