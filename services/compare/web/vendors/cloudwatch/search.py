"""Search: a log group's lines in a time range, by a filter pattern where the vendor takes one."""

from __future__ import annotations

import re
from typing import Final

from flask import render_template, request

from services.compare.web.site import refuse
from services.compare.web.vendors import timerange
from services.compare.web.vendors.asking import Asked, ask
from services.compare.web.vendors.cloudwatch.client import EVENTS, CloudWatch, Page
from services.compare.web.vendors.cloudwatch.lines import line, several_streams

ORDERS = {"newest": "newest first", "oldest": "oldest first"}
#: A pattern that is one term in quotes: what a message contains ("Filter pattern syntax", CloudWatch Logs user guide).
TERM: Final = re.compile(r'"([^"\\]+)"')


def show() -> str:
    group, pattern = request.args.get("group", ""), request.args.get("pattern", "").strip()
    token, order = request.args.get("token", ""), request.args.get("order", "") or "newest"
    if order not in ORDERS:
        refuse(f"order={order} is no order.", f"Take one of {', '.join(ORDERS)}.")
    chosen = timerange.read(default="15m")
    # Whole seconds, so that the address of the next page asks the same question, which a token is good for.
    start, end = int(chosen.start), int(chosen.end) + 1
    cloudwatch = CloudWatch.of_site()
    found: Asked[Page] = Asked(Page(()))
    chosen_here = False
    if group:
        found = ask("CloudWatch Logs", cloudwatch.search, group, start, end, pattern, token, order == "newest")
        term = TERM.fullmatch(pattern)
        if term and found.problem and "filterPattern is not implemented" in found.problem.reason:
            # The local CloudWatch Logs has no filter patterns yet; this one can be decided here.
            found = ask("CloudWatch Logs", _containing, cloudwatch, group, start, end, term[1], order == "newest")
            chosen_here = found.problem is None
    groups = ask("CloudWatch Logs", cloudwatch.groups)
    lines = [line(event) for event in found.value.items] if found.value else []
    onward = {"group": group, "pattern": pattern, "order": order, "range": timerange.CUSTOM, "from": chosen.from_text, "to": chosen.to_text}
    return render_template(
        "vendors/cloudwatch/search.html",
        found=found,
        chosen_here=chosen_here,
        lines=lines,
        several=several_streams(lines),
        group=group,
        groups=groups.value.items if groups.value else (),
        groups_problem=groups.problem,
        pattern=pattern,
        order=order,
        orders=ORDERS,
        token=token,
        range=chosen,
        onward=onward,
    )


def _containing(cloudwatch: CloudWatch, group: str, start: float, end: float, term: str, newest_first: bool) -> Page:
    """The first events of a group between two times whose message contains a term, as many as a page holds."""
    found = []
    for events in cloudwatch.every(group, start, end, newest_first):
        found += [event for event in events if term in event["message"]]
        if len(found) >= EVENTS:
            break
    return Page(found[:EVENTS])
