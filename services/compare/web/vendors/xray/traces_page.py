"""``/vendors/xray/traces``: traces of a time range that a filter expression finds, a page of X-Ray's at a time.

``?filter=`` the expression, ``?group=``, ``?by=`` TraceId, Event or Service, ``?sampled=yes`` lets X-Ray leave some out, ``?token=`` the
page (with ``from`` and ``to``: a token is good for one range only).
"""

from __future__ import annotations

import re
from typing import Final

from flask import redirect
from werkzeug.wrappers import Response

from services.compare.web.site import refuse, trace_id
from services.compare.web.vendors.xray import summaries
from services.compare.web.vendors.xray.client import Rejected, SummaryPage
from services.compare.web.vendors.xray.frame import (
    Answer,
    argument,
    ask,
    blueprint,
    console,
    groups,
    link,
    page,
    span,
    x_ray_id,
)
from services.compare.web.vendors.xray.graphs import quoted
from services.compare.web.vendors.xray.times import DAY, Span

#: By what a trace belongs to a range. (TimeRangeType of GetTraceSummaries.)
BY: Final = (("TraceId", "when it began"), ("Event", "when X-Ray last heard of it"), ("Service", "when a segment ended"))

#: Expressions to begin with, each with what it finds.
EXAMPLES: Final = (
    ("fault", "the service failed, 5xx"),
    ("error", "the client's mistake, 4xx"),
    ("ok AND responsetime > 0.5", "well, but slow"),
    ("http.status = 404", "by status"),
    ('http.url CONTAINS "/api/"', "by address"),
    ('service("Cruddur") { fault }', "a fault of one service"),
    ('edge("cruddur", "profiles")', "one service called another"),
    ('annotation.handle = "ada.abbott"', "by annotation"),
    ("partial", "something is in progress"),
)
#: Where X-Ray says what is wrong with an expression.
PLACE: Final = re.compile(r"line (\d+),? column (\d+)")


@blueprint.get("/traces")
def traces() -> tuple[str, int]:
    at = span().at_most(DAY, "X-Ray finds traces of")
    expression, group, token = argument("filter"), argument("group"), argument("token")
    by, sampled = argument("by") or BY[0][0], argument("sampled") == "yes"
    if by not in dict(BY):
        refuse(f"by={by} is none of {', '.join(dict(BY))}", title="No such time range")
    known = groups()
    answer = find(at, expression, group, by, sampled, token)
    rows = [summaries.row(each) for each in answer.value.summaries] if answer.value else []
    same = {"filter": expression, "group": group, "by": by if by != BY[0][0] else "", "sampled": "yes" if sampled else ""}
    place = PLACE.search(answer.problem.reason) if isinstance(answer.problem, Rejected) else None
    return page(
        "traces.html",
        "traces",
        answer.status,
        span=at,
        group=group,
        groups=known,
        expression=expression,
        by=by,
        ways=BY,
        sampled=sampled,
        examples=[(text, meaning, link("traces", **at.query, **(same | {"filter": text}))) for text, meaning in EXAMPLES],
        answer=answer,
        rejected=isinstance(answer.problem, Rejected),
        place=place.groups() if place else None,
        token=token,
        rows=rows,
        totals=summaries.totals(rows),
        shown=summaries.SHOWN,
        more=link("traces", **at.fixed, **same, token=answer.value.next_token) if answer.value and answer.value.next_token else "",
        first=link("traces", **at.fixed, **same) if token else "",
        console=console(f"traces?filter={expression}" if expression else "traces"),
    )


@blueprint.get("/find")
def find_trace() -> Response:
    """From an id in any form to its page; what is no id is a page (404) that says what one looks like."""
    return redirect(link("trace", trace=x_ray_id(trace_id(argument("id")))))


def find(at: Span, expression: str, group: str, by: str, sampled: bool, token: str) -> Answer[SummaryPage]:
    """One page. An expression that is wrong is answered with its place in what was typed, not in what the group made of it."""
    whole = expression
    if group:
        whole = f"group.name = {quoted(group)}" + (f" AND ({expression})" if expression else "")
    answer = ask(lambda xray: xray.summaries(at.start, at.end, whole, by, sampled, token))
    if group and expression and isinstance(answer.problem, Rejected):
        alone = ask(lambda xray: xray.summaries(at.start, at.start, expression, by, sampled, ""))
        if isinstance(alone.problem, Rejected):
            return alone
    return answer
