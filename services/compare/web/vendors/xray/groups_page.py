"""``/vendors/xray/groups``: the groups of the account, with the way to each one's traces, map and insights."""

from __future__ import annotations

from services.compare.web.vendors.xray.frame import blueprint, groups, page, span


@blueprint.get("/groups", endpoint="groups")
def all_groups() -> tuple[str, int]:
    answer = groups()
    return page("groups.html", "groups", answer.status, span=span(), answer=answer)
