"""A query from a form: its result as a table and plots, its JSON, and what the vendor says is wrong with it, at the fields."""

from __future__ import annotations

from typing import Any

from flask import render_template, request

from services.compare.readers.base import Unreadable
from services.compare.readers.http import Refusal
from services.compare.web.site import site
from services.compare.web.vendors import timerange
from services.compare.web.vendors.asking import Asked, ask
from services.compare.web.vendors.honeycomb import form as forms
from services.compare.web.vendors.honeycomb.client import ALL, Honeycomb, when
from services.compare.web.vendors.honeycomb.results import GROUPS, figures, rows


def show() -> str:
    chosen = timerange.read(default="1h")
    form = forms.read(request.args)
    honeycomb = Honeycomb(site().settings)
    datasets = ask("Honeycomb", honeycomb.datasets)
    columns = ask("Honeycomb", honeycomb.columns, form.dataset or ALL) if datasets.value else Asked([])
    answer: Asked[Any] = Asked()
    document: dict[str, Any] | None = None
    step = 0
    if form.asked and datasets.problem is None:
        try:
            document, step = forms.spec(form, when(chosen), chosen.seconds)
            answer = ask("Honeycomb", honeycomb.query, form.dataset, document, forms.limit(form))
        except ValueError as error:
            answer = Asked(problem=Unreadable(str(error)))
        if isinstance(answer.problem, Refusal) and answer.problem.status == 422:
            forms.explain(form, answer.problem.document)
    breakdowns = [line.values[0] for line in form.breakdowns]
    return render_template(
        "vendors/honeycomb/query.html",
        form=form,
        range=chosen,
        datasets=datasets.value or [],
        columns=columns.value or [],
        all=ALL,
        ops=forms.OPS,
        filter_ops=forms.FILTER_OPS,
        problem=datasets.problem or columns.problem or answer.problem,
        document=document,
        answer=answer.value,
        rows=rows(answer.value) if answer.value else [],
        breakdowns=breakdowns,
        figures=figures(answer.value, form.labels, breakdowns, step, chosen.seconds > 86_400) if answer.value else [],
        groups=GROUPS,
    )
