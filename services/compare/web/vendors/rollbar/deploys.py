"""Deploys: which revision went where, and when."""

from __future__ import annotations

from flask import render_template

from services.compare.web import paging
from services.compare.web.site import site
from services.compare.web.vendors.asking import ask
from services.compare.web.vendors.rollbar.client import Rollbar
from services.compare.web.vendors.rollbar.shapes import seconds


def index() -> str:
    page = paging.number(None)
    found = ask("Rollbar", Rollbar(site().settings).deploys, page)
    return render_template("vendors/rollbar/deploys.html", found=found, deploys=found.value or [], page=page, seconds=seconds)
