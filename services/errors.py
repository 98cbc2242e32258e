"""Errors as JSON, in the form both services answer: ``{"error": {"code": "...", "message": "...", "fields": [...]}}``.

``code`` is for programs and stable, ``message`` is for people, ``fields`` (only where input was validated) names each field and
what is wrong with it. An unhandled exception answers 500 with nothing of its inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Response, jsonify, request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException, InternalServerError

if TYPE_CHECKING:
    from flask import Flask

Model = TypeVar("Model", bound=BaseModel)

_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type", 500: "internal"}


class ApiError(Exception):
    """An answer that is an error, raised anywhere in a view. Handled: not reported to Rollbar, not a fault of the service."""

    def __init__(self, status: int, code: str, message: str, fields: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields


def _answer(status: int, code: str, message: str, fields: list[dict[str, str]] | None = None) -> Response:
    error: dict[str, Any] = {"code": code, "message": message}
    if fields is not None:
        error["fields"] = fields
    response = jsonify(error=error)
    response.status_code = status
    return response


def install(app: Flask) -> None:
    """Make every error of ``app`` a JSON document."""

    @app.errorhandler(ApiError)
    def api_error(error: ApiError) -> Response:
        return _answer(error.status, error.code, str(error), error.fields)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        if isinstance(error, InternalServerError):
            return _answer(500, "internal", "the service failed; the failure has been recorded")
        answer = _answer(status, _CODES.get(status, "http_error"), error.description or error.name)
        # Headers that belong to the status, such as Allow of a 405.
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                answer.headers[name] = value
        return answer


def _validated(validate: Callable[[], Model], status: int) -> Model:
    try:
        return validate()
    except ValidationError as error:
        if any(problem["type"] == "json_invalid" for problem in error.errors()):
            raise ApiError(400, "bad_request", "the body is not JSON") from None
        fields = [
            {"name": ".".join(map(str, e["loc"])) or "(body)", "message": e["msg"].removeprefix("Value error, ")} for e in error.errors()
        ]
        raise ApiError(status, "invalid", "; ".join(f"{f['name']}: {f['message']}" for f in fields), fields) from None


def body(model: type[Model]) -> Model:
    """The request's JSON body as ``model``: 415 when it is not declared as JSON, 400 when it is not JSON, 422 when it does not fit."""
    if not request.is_json:
        raise ApiError(415, "unsupported_media_type", "the body must be JSON, declared as application/json")
    data = request.get_data()  # raises 413
    # pydantic's own parser: the standard library's answers deep nesting with RecursionError, and lets lone surrogates pass.
    return _validated(lambda: model.model_validate_json(data), 422)


def query(model: type[Model]) -> Model:
    """The request's query as ``model``: 400 when it does not fit. A parameter given twice counts once, the first."""
    values = request.args.to_dict()
    return _validated(lambda: model.model_validate(values), 400)


def value(model: type[Model], **values: str) -> Model:
    """Parts of the request's path as ``model``: 400 when they do not fit."""
    return _validated(lambda: model.model_validate(values), 400)
