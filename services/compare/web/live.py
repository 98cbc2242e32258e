"""A load that goes on, starting one, stopping it, and comparing a run: what the page does beside showing.

=====================================  ============================================================================================
``/loads/new``, POST ``/loads``        the form, and its sending
``/loads/running``                     a fragment: what goes on, for the list of runs
``/runs/<id>/live``                    how a load is doing; ``/live/now`` is the part of it that changes
POST ``/runs/<id>/stop``               ends it in order; a replay takes its run back
``/runs/<id>/compare``, and as POST    comparing a run, and how far that is; ``/compare/now`` is the part of it that changes
=====================================  ============================================================================================

Without JavaScript the pages ask for themselves again every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, current_app, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError

from compose.settings import Settings
from loadtest.ledger import LedgerError
from loadtest.profiles import PROFILES
from loadtest.runs import RUN_ID, Run, RunError, going_on
from loadtest.target import CannotStart as NoTarget
from loadtest.target import check_target
from services.compare import underway
from services.compare.record import NoRecord, document
from services.compare.visible import Lookout, Watch
from services.compare.web import sparkline
from services.compare.web.replays import how_far, is_here
from services.compare.web.site import Refused, site
from services.compare.web.starting import FIELDS, CannotStart, Starter, makes_runs, stop

blueprint = Blueprint("live", __name__)

#: Seconds after the end of a load in which what arrives late is still looked for.
AFTERWARDS = 120.0


@dataclass(frozen=True)
class _Services:
    """What lives as long as the application: it holds threads and processes."""

    lookout: Lookout
    starter: Starter


def _services() -> _Services:
    found: _Services = current_app.extensions["parallax-live"]
    return found


@blueprint.record
def _begin(state: Any) -> None:
    app: Flask = state.app
    settings: Settings = app.extensions["parallax"].settings
    app.extensions["parallax-live"] = _Services(Lookout(settings), Starter(settings))


@blueprint.app_context_processor
def _for_fragments() -> dict[str, Any]:
    """What ``live/running.html`` and ``live/compare.html`` ask for, wherever they are included."""
    return {"running_loads": lambda: [(run, _watch(run)) for run in going_on(site().settings)], "comparing": _comparing}


# -- start and stop


@blueprint.get("/loads/new")
def new() -> str:
    settings = site().settings
    return _form({name: "" if (value := getattr(settings, name)) is None else str(value) for name in FIELDS}, {})


@blueprint.post("/loads")
def start() -> ResponseReturnValue:
    values = {name: request.form.get(name, "").strip() for name in FIELDS}
    chosen, wrong = _chosen(site().settings, values)
    if chosen is None:
        return _form(values, wrong), 400
    try:
        check_target(chosen.target_url)
        run = _services().starter.load(chosen)
    except NoTarget:
        return _form(values, {}), 503
    except CannotStart as error:
        raise Refused(409, "The load did not start", str(error), error.hint) from error
    return redirect(url_for(".live", run_id=run.id), 303)


@blueprint.post("/runs/<run_id>/stop")
def end(run_id: str) -> ResponseReturnValue:
    if taken_back := _taken_back(run_id):
        return redirect(taken_back, 303)  # Asked twice: the first time was enough.
    run = site().run(run_id)
    if not stop(run) and run.loader is not None:
        reason = f"Run {run_id} is not made by a load or a replay on this machine."
        raise Refused(409, "This cannot be stopped here", reason, "stop it where it was started")
    return redirect(url_for(".live", run_id=run_id, stopping=1, of=run.manifest.replay_of), 303)


def _form(values: Mapping[str, str], wrong: Mapping[str, str]) -> str:
    settings = site().settings
    down = ""
    try:
        check_target(settings.target_url)
    except NoTarget as error:
        down = str(error)
    return render_template("live/new.html", values=values, wrong=wrong, down=down, profiles=PROFILES.values(), running=going_on(settings))


def _chosen(settings: Settings, values: Mapping[str, str]) -> tuple[Settings | None, dict[str, str]]:
    """The settings of the load that is asked for, checked as every setting is, or what is wrong with which field."""
    wrong = {
        name: "choose one" if name in ("profile", "sampling") else "say a number"
        for name in ("profile", "seed", "sampling")
        if not values[name]
    }
    try:
        chosen = Settings.model_validate(settings.model_dump() | dict(values))
    except ValidationError as error:
        for each in error.errors():
            wrong.setdefault(str(each["loc"][0]), each["msg"].replace("Input should be", "it must be"))
        chosen = None
    return (None, wrong) if wrong else (chosen, {})


# -- how a load is doing


@blueprint.get("/loads/running")
def running() -> Response:
    """The card of the list of runs. Where others go on than those it showed, the whole list is asked for again."""
    now = [run.id for run in going_on(site().settings)]
    response = make_response(render_template("live/running.html"))
    if request.args.get("shown", "") != ",".join(now):
        response.headers["HX-Refresh"] = "true"
    return response


@blueprint.get("/runs/<run_id>/live")
def live(run_id: str) -> ResponseReturnValue:
    try:
        run = site().run(run_id)
        if run.imported:
            # The vendors here would be asked for what they never had.
            return redirect(url_for("run.overview", run_id=run_id))
        return render_template("live/live.html", **_state(run), stopping="stopping" in request.args)
    except (Refused, RunError, LedgerError, OSError):
        if taken_back := _taken_back(run_id):
            return redirect(taken_back)
        raise


@blueprint.get("/runs/<run_id>/live/now")
def live_now(run_id: str) -> Response:
    try:
        state = _state(site().run(run_id))
    except (Refused, RunError, LedgerError, OSError):
        if taken_back := _taken_back(run_id):
            return Response(headers={"HX-Redirect": taken_back})
        raise
    response = make_response(render_template("live/now.html", **state))
    if request.args.get("state") != state["state"]:
        # Its buttons differ.
        response.headers["HX-Refresh"] = "true"
    return response


def _taken_back(run_id: str) -> str | None:
    """Where to go from a replay whose run is not there any more: to the run that it was of, which the address names (``of``)."""
    of = request.args.get("of", "")
    return (
        url_for("run.overview", run_id=of, taken_back=run_id) if not is_here(run_id) and is_here(of) and RUN_ID.fullmatch(run_id) else None
    )


def _watch(run: Run) -> Watch:
    return _services().lookout.watch(run)


def _state(run: Run) -> dict[str, Any]:
    watch = _watch(run)
    # In this order: a run that is over a moment later is only shown as going on once more.
    pid = run.loader
    run = site().run(run.id)
    state = "running" if pid is not None and run.manifest.finished is None else "over" if run.manifest.finished is not None else "killed"
    with watch.lock:
        pulse, visible = watch.pulse, dict(watch.visible)
        course = pulse.course()
        last = pulse.last or run.manifest.started
        late = any(not path.complete for path in visible.values()) and time.time() - last < AFTERWARDS
        return {
            "run": run,
            "replaying": how_far(run),
            "state": state,
            "stoppable": pid is not None and makes_runs(pid),
            "polls": state == "running" or late,
            "pulse": pulse,
            "visible": visible,
            "rate_now": pulse.rate(5),
            "rate": pulse.rate(),
            "p50": pulse.percentile(50),
            "p99": pulse.percentile(99),
            "statuses": sorted(pulse.statuses.items()),
            "reasons": pulse.reasons.most_common(3),
            "rates": sparkline.of([interval.finished / pulse.width for _, interval in course[:-1]]),
            "slowest": sparkline.of([interval.percentile(99) for _, interval in course]),
            "compared": _record(run),
        }


def _record(run: Run) -> Mapping[str, Any] | None:
    try:
        return document(run.folder)
    except NoRecord:
        return None


# -- compare


@blueprint.get("/runs/<run_id>/compare")
def comparison(run_id: str) -> str:
    return render_template("live/comparison.html", run=site().run(run_id))


@blueprint.post("/runs/<run_id>/compare")
def compare(run_id: str) -> ResponseReturnValue:
    run = site().run(run_id)
    if run.imported:
        raise Refused(409, "The compare did not start", f"Run {run_id} was imported: its backends are elsewhere.", "its record came along")
    try:
        _services().starter.compare(run)
    except CannotStart as error:
        raise Refused(409, "The compare did not start", str(error), error.hint) from error
    return redirect(url_for(".comparison", run_id=run_id), 303)


@blueprint.get("/runs/<run_id>/compare/now")
def comparison_now(run_id: str) -> Response:
    run = site().run(run_id)
    response = make_response(render_template("live/compare.html", run=run))
    found = underway.read(run.folder)
    if found is not None and found.phase == "done" and _record(run) is not None:
        response.headers["HX-Redirect"] = url_for("run.overview", run_id=run_id)
    elif found is None or not found.alive:
        response.headers["HX-Refresh"] = "true"
    return response


def _comparing(run: Run) -> dict[str, Any]:
    """What ``live/compare.html`` shows of a run: the compare that goes on, or how the last one ended, and whether one can be started."""
    return {
        "underway": underway.read(run.folder),
        "going_on": run.loader is not None,
        "imported": run.imported,
        "mode": site().settings.mode == run.manifest.mode,
    }
