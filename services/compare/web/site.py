"""What every page asks for: the settings, a run, its record. What is not there becomes a page that says so, with the next command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlencode

import duckdb
from flask import current_app, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, SecurityError

from compose.settings import ConfigurationError, Settings
from loadtest.ledger import LedgerError
from loadtest.runs import Run, RunError, load_run, runs
from services.compare import trace
from services.compare.prices import Prices
from services.compare.prices import load as load_prices
from services.compare.record import NoRecord, Record


class Refused(HTTPException):
    """A page that says what is wrong: ``title``, one line, and ``next``, what to do, one line."""

    def __init__(self, code: int, title: str, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.title = title
        self.hint = hint


@dataclass(frozen=True)
class Site:
    """What the application was made with."""

    settings: Settings

    def run_ids(self) -> list[str]:
        """Every run, newest first."""
        return list(reversed(runs(self.settings)))

    def run(self, run_id: str) -> Run:
        """A run by its id, or a page (404) that names the known ones."""
        try:
            return load_run(self.settings, run_id)
        except RunError as error:
            raise Refused(404, "No such run", str(error)) from error

    def record(self, run: Run) -> Record:
        """What compare kept of a run, or a page (404) that says how to make it."""
        try:
            return Record.open(run.folder)
        except NoRecord as error:
            raise Refused(404, "Not compared yet", str(error)) from error

    def prices(self) -> Prices:
        try:
            return load_prices(self.settings)
        except ConfigurationError as error:
            raise Refused(500, "The table of prices cannot be used", str(error)) from error


def site() -> Site:
    """That of the application that answers now."""
    found: Site = current_app.extensions["parallax"]
    return found


def trace_id(text: str) -> str:
    """A trace id as 32 hex digits from either form, or a page (404) that says what one looks like."""
    try:
        return trace.parse(text)
    except trace.NoSuchTrace as error:
        raise Refused(404, "No trace id", str(error)) from error


def with_query(address: str) -> str:
    """``address`` with the parameters of this request; not by url_for, for anybody could name one of its own (``_external``)."""
    query = urlencode(request.args.to_dict(flat=False), doseq=True)
    return f"{address}?{query}" if query else address


def refuse(reason: str, hint: str = "", title: str = "That cannot be shown") -> NoReturn:
    """A page (400) about a filter or a form that says something that cannot be meant."""
    raise Refused(400, title, reason, hint)


def error_page(error: Exception) -> ResponseReturnValue:
    """The page for any exception that ends a request."""
    if isinstance(error, SecurityError):
        # Nothing of a page, which would have addresses under that name.
        text = f"{error.description} Ask for 127.0.0.1 or localhost, or add the name to COMPARE_HOSTS.\n"
        return text, 400, {"Content-Type": "text/plain; charset=utf-8"}
    if isinstance(error, Refused):
        return render_template("error.html", title=error.title, reason=error.description, hint=error.hint), error.code or 500
    if isinstance(error, HTTPException):
        return render_template("error.html", title=error.name, reason=error.description or "", hint=""), error.code or 500
    if isinstance(error, (RunError, LedgerError, NoRecord, ConfigurationError)):
        return render_template("error.html", title="That cannot be read", reason=str(error), hint=""), 500
    if isinstance(error, (duckdb.IOException, duckdb.InvalidInputException)) or type(error) is duckdb.Error:
        # What DuckDB raises of a file that is gone or damaged, and not of a query.
        reason = (
            "the record was replaced while this page read it, or is damaged; open the page again, or `make compare RUN=<id>` makes it anew"
        )
        return render_template("error.html", title="The record cannot be read", reason=reason, hint=str(error)), 503
    current_app.logger.exception("a page failed")
    reason = f"{type(error).__name__}; the log of the process compare has the rest: `make logs NAME=compare`"
    return render_template("error.html", title="This page failed", reason=reason, hint=""), 500


def context() -> dict[str, Any]:
    """What every template knows."""
    settings = site().settings
    return {"mode": settings.mode, "settings": settings}
