"""Datasets, and the columns of one."""

from __future__ import annotations

from flask import render_template

from services.compare.web.site import site
from services.compare.web.vendors.asking import ask
from services.compare.web.vendors.honeycomb.client import Honeycomb


def index() -> str:
    found = ask("Honeycomb", Honeycomb(site().settings).datasets)
    return render_template("vendors/honeycomb/datasets.html", found=found, minute=minute)


def show(slug: str) -> str:
    found = ask("Honeycomb", Honeycomb(site().settings).columns, slug)
    return render_template("vendors/honeycomb/dataset.html", found=found, slug=slug, minute=minute)


def minute(text: object) -> str:
    """A time of the API (RFC 3339) without what nobody reads of it; a dash for none."""
    return text[:19].replace("T", " ") if isinstance(text, str) and text else "—"
