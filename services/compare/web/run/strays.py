"""``/runs/<id>/strays``: what backends have of a run that no ledger line explains."""

from __future__ import annotations

from typing import Final

from flask import render_template, request, url_for

from services.compare.web import paging
from services.compare.web.run.requests import is_trace, trace_href
from services.compare.web.site import refuse, site

#: Strays on one page.
PAGE_SIZE: Final = 100


def show(run_id: str) -> str:
    run = site().run(run_id)
    record = site().record(run)
    counts = {row["path"]: row["n"] for row in record.rows("SELECT path, count(*) AS n FROM strays GROUP BY path ORDER BY path")}
    path = request.args.get("path", "").strip()
    known = [name for name, about in record.document["paths"].items() if about["state"] != "off"]
    if path and path not in known:
        refuse(f"path {path!r} is not known, or was off in this run; known are {', '.join(known)}", title="No such path")
    total = counts.get(path, 0) if path else sum(counts.values())
    pages = paging.count(total, PAGE_SIZE)
    page = paging.number(pages)
    rows = record.rows(
        f"SELECT path, what, trace_id, id, why FROM strays {'WHERE path = ?' if path else ''} "
        "ORDER BY path, what, trace_id, id LIMIT ? OFFSET ?",
        [*([path] if path else []), PAGE_SIZE, (page - 1) * PAGE_SIZE],
    )
    return render_template(
        "run/strays.html",
        run=run,
        rows=rows,
        counts=counts,
        path=path,
        total=total,
        all=sum(counts.values()),
        page=page,
        pages=pages,
        at=lambda number: url_for("run.strays", run_id=run_id, path=path or None, page=number),
        trace_href=lambda trace: trace_href(run_id, trace) if is_trace(trace) else "",
    )
