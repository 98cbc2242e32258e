"""What X-Ray's pages share: the blueprint, asking, and what a page does with a call that failed.

graph = ask(lambda xray: xray.service_graph(span.start, span.end, group))
graph.value      # None where it failed
graph.problem    # why, for `parts.problem`; the rest of the page goes on
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote as quote_address

from botocore.exceptions import HTTPClientError, NoCredentialsError
from flask import Blueprint, current_app, g, render_template, request, url_for
from markupsafe import Markup

from services.compare.readers.base import Unreadable
from services.compare.web.site import site
from services.compare.web.vendors import timerange
from services.compare.web.vendors.xray import times
from services.compare.web.vendors.xray.client import Client, Listing, Rejected
from services.compare.web.vendors.xray.graphs import OUTCOMES, rate

blueprint = Blueprint("xray", __name__, url_prefix="/vendors/xray")

T = TypeVar("T")

#: The tabs: name, label, endpoint, and whether the time range and the group go along.
TABS: Final = (
    ("map", "Service map", "service_map", True),
    ("traces", "Traces", "traces", True),
    ("groups", "Groups", "groups", True),
    ("insights", "Insights", "insights", False),
    ("sampling", "Sampling", "sampling", False),
    ("account", "Account", "account", False),
)

_lock = threading.Lock()


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a call brought, or why it brought nothing."""

    value: T | None
    problem: Unreadable | Rejected | None = None

    @property
    def status(self) -> int:
        """Of a page that has nothing else to show: 200, 400 for a question X-Ray refuses, 502 where X-Ray cannot be asked."""
        return 200 if self.problem is None else 400 if isinstance(self.problem, Rejected) else 502


def ask(call: Callable[[Client], T]) -> Answer[T]:
    """One call for the page that is made now. X-Ray that did not answer the page's last call is not asked, and waited for, again."""
    silent: Unreadable | None = g.get("xray_silent")
    if silent is not None:
        return Answer(None, silent)
    try:
        return Answer(call(_client()))
    except Unreadable as error:
        if isinstance(error.__cause__, (HTTPClientError, NoCredentialsError)):
            g.xray_silent = error
        return Answer(None, error)
    except Rejected as error:
        return Answer(None, error)


def _client() -> Client:
    """The application's: making one takes longer than a page."""
    with _lock:
        found: Client | None = current_app.extensions.get("parallax.xray")
        if found is None:
            found = current_app.extensions["parallax.xray"] = Client(site().settings)
    return found


def argument(name: str) -> str:
    return request.args.get(name, "").strip()


def span(longest: float = times.DAY) -> times.Span:
    """The time range of this page's address. ``longest``: seconds of the longest preset that is offered."""
    return times.read(timerange.within(longest), "1h")


def groups() -> Answer[Listing]:
    return ask(lambda xray: xray.groups())


def link(endpoint: str, **values: Any) -> str:
    """The address of a page of X-Ray's; values that are empty are left out."""
    return url_for(f"xray.{endpoint}", **{name: value for name, value in values.items() if value not in ("", None)})


def page(template: str, tab: str, status: int = 200, **values: Any) -> tuple[str, int]:
    """A page of X-Ray's. ``span`` among the values makes its time range go along to other tabs."""
    at: times.Span | None = values.get("span")
    along = {**(at.query if at else {}), **({"group": values["group"]} if values.get("group") else {})}
    settings = site().settings
    tabs = [(name, label, link(endpoint, **(along if goes else {})), name == tab) for name, label, endpoint, goes in TABS]
    endpoint = settings.xray_endpoint or "AWS"
    return render_template(f"vendors/xray/{template}", tabs=tabs, endpoint=endpoint, region=settings.aws_region, **values), status


def console(path: str) -> str:
    """The same in the AWS console; empty while the local X-Ray stands in, or something else that is not AWS."""
    settings = site().settings
    if settings.mode != "online" or settings.xray_endpoint:
        return ""
    region = quote_address(settings.aws_region, safe="")
    return f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#xray:{path}"


def in_page(document: object) -> Markup:
    """JSON that can stand in a script element."""
    text = json.dumps(document, ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704 (escaped here)


def x_ray_id(trace_id: str) -> str:
    """32 hex digits in X-Ray's form."""
    return f"1-{trace_id[:8]}-{trace_id[8:]}"


@blueprint.context_processor
def _words() -> dict[str, Any]:
    return {"outcomes": OUTCOMES, "rate": rate, "link": link}
