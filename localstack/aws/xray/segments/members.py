"""The documented members of a segment document that X-Ray does without, and what they must be. Pure.

Source: "AWS X-Ray segment documents" and "Annotation requirements" in the X-Ray developer guide. What X-Ray does with a document that
breaks one of these rules is not documented: see :class:`localstack.aws.xray.segments.validation.Limits`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], str | None]

#: "Up to 500 alphanumeric characters"; the guide allows "_" on one page and "." on another.
ANNOTATION_KEY = re.compile(r"[A-Za-z0-9_.]{1,500}")
#: "Up to 1,000 Unicode characters".
MAX_ANNOTATION_VALUE = 1000

_EXCEPTION_ID = re.compile(r"[0-9a-fA-F]{16}")


def wrong_type(fields: Mapping[str, Any], subsegment: bool) -> str | None:
    """What is wrong with the first documented member that has another type or form than documented; None: nothing."""
    return _SUBSEGMENT(fields, "") if subsegment else _SEGMENT(fields, "")


def wrong_annotation(annotations: Mapping[str, Any]) -> str | None:
    """What is wrong with the first annotation that X-Ray could not index as documented; None: nothing."""
    for key, value in annotations.items():
        if not ANNOTATION_KEY.fullmatch(key):
            return f"the annotation key '{key[:100]}' must be 1 to 500 letters, digits, '_' or '.'"
        if isinstance(value, str):
            if len(value) > MAX_ANNOTATION_VALUE:
                return f"the annotation {key} must have at most {MAX_ANNOTATION_VALUE} characters"
        elif not isinstance(value, bool | int | float):
            return f"the annotation {key} must be a string, a number or a boolean"
    return None


def _kind(noun: str, *types: type) -> Check:
    def check(value: Any, where: str) -> str | None:
        # A boolean is an int to Python.
        if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
            return None
        return f"{where} must be {noun}"

    return check


_STRING = _kind("a string", str)
_INTEGER = _kind("an integer", int)
_BOOLEAN = _kind("a boolean", bool)
_ANY_OBJECT = _kind("an object", dict)


def _object(**members: Check) -> Check:
    def check(value: Any, where: str) -> str | None:
        if not isinstance(value, dict):
            return f"{where} must be an object"
        for name, member in members.items():
            found = value.get(name)
            # A member that is null counts as absent.
            if found is not None:
                wrong = member(found, f"{where}.{name}" if where else name)
                if wrong is not None:
                    return wrong
        return None

    return check


def _list(element: Check) -> Check:
    def check(value: Any, where: str) -> str | None:
        if not isinstance(value, list):
            return f"{where} must be a list"
        return next((wrong for number, one in enumerate(value) if (wrong := element(one, f"{where}[{number}]")) is not None), None)

    return check


def _one_of(*values: str) -> Check:
    return lambda value, where: None if value in values else f"{where} must be {' or '.join(values)}"


def _cause(value: Any, where: str) -> str | None:
    if isinstance(value, str):
        return None if _EXCEPTION_ID.fullmatch(value) else f"{where} must be the 16 hexadecimal digits of an exception's id, or an object"
    return _CAUSE(value, where)


_FRAME = _object(path=_STRING, line=_INTEGER, label=_STRING)
_EXCEPTION = _object(
    id=_STRING,
    message=_STRING,
    type=_STRING,
    remote=_BOOLEAN,
    truncated=_INTEGER,
    skipped=_INTEGER,
    cause=_STRING,
    stack=_list(_FRAME),
)
_CAUSE = _object(working_directory=_STRING, paths=_list(_STRING), exceptions=_list(_EXCEPTION))
_RESPONSE = _object(status=_INTEGER, content_length=_INTEGER)

_SEGMENT = _object(
    service=_object(version=_STRING),
    user=_STRING,
    origin=_STRING,
    resource_arn=_STRING,
    http=_object(
        request=_object(method=_STRING, url=_STRING, user_agent=_STRING, client_ip=_STRING, x_forwarded_for=_BOOLEAN),
        response=_RESPONSE,
    ),
    aws=_object(
        account_id=_STRING,
        ecs=_object(container=_STRING),
        ec2=_object(instance_id=_STRING, availability_zone=_STRING),
        elastic_beanstalk=_object(environment_name=_STRING, version_label=_STRING, deployment_id=_INTEGER),
        xray=_object(sdk=_STRING, sdk_version=_STRING),
    ),
    cause=_cause,
    metadata=_ANY_OBJECT,
)
_SUBSEGMENT = _object(
    namespace=_one_of("aws", "remote"),
    http=_object(request=_object(url=_STRING, method=_STRING, traced=_BOOLEAN), response=_RESPONSE),
    aws=_object(
        operation=_STRING,
        account_id=_STRING,
        region=_STRING,
        request_id=_STRING,
        queue_url=_STRING,
        table_name=_STRING,
    ),
    sql=_object(
        connection_string=_STRING,
        url=_STRING,
        sanitized_query=_STRING,
        database_type=_STRING,
        database_version=_STRING,
        driver_version=_STRING,
        user=_STRING,
        preparation=_one_of("call", "statement"),
    ),
    precursor_ids=_list(_STRING),
    cause=_cause,
    metadata=_ANY_OBJECT,
)
