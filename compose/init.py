"""Makes what the sandbox wants to find in X-Ray: its sampling rule and its group. ``python -m compose init``, and part of ``up``.

The rule is ``compose/xray/sampling-rule.json``, in the form that ``aws xray create-sampling-rule --cli-input-json`` takes. Whatever
is made is said together with the command that makes it, to be typed by hand, offline and online alike; a test runs these
commands with AWS's own command line and finds the same rule and group. What is there is never changed: where it differs from what
the file says, the difference is told, and the command that takes it away.

X-Ray is called through boto3, not through that command line, which is a tool of development and takes a second to start.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compose.settings import LOCAL_AWS_KEY, LOCAL_AWS_SECRET, ROOT, Backend, Settings

if TYPE_CHECKING:
    from mypy_boto3_xray import XRayClient

#: The sampling rule, below the project's folder, where the commands are typed.
RULE_FILE = Path("compose") / "xray" / "sampling-rule.json"
GROUP, EXPRESSION = "Cruddur", 'service("Cruddur")'

#: Seconds in which X-Ray may still come up before it is given up.
PATIENCE = 5.0
_PAUSE = 0.5

#: Answers after which the same call may work. Source: X-Ray API Reference, "Common Errors".
_TRANSIENT = {"ThrottledException", "ThrottlingException", "Throttling", "RequestLimitExceeded", "ServiceUnavailable", "InternalFailure"}
#: Answers to a key that is not known, or may not do this.
_REFUSED = {
    *("AccessDenied", "AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException"),
    *("ExpiredTokenException", "IncompleteSignature", "MissingAuthenticationToken", "OptInRequired", "SubscriptionRequiredException"),
}
#: What these calls ask of the key's policy.
_ACTIONS = "xray:GetSamplingRules, xray:CreateSamplingRule, xray:GetGroups, xray:CreateGroup"

Say = Callable[[str], None]
T = TypeVar("T")


class InitError(Exception):
    """X-Ray could not be asked, or refused. The message is one line: what is wrong and what to do."""


def wanted(settings: Settings) -> bool:
    """Whether there is anything to make: only where X-Ray is on."""
    return Backend.XRAY in settings.backends


def ensure(settings: Settings, say: Say, patience: float = PATIENCE, typed_endpoint: str = "") -> bool:
    """Make what is missing. True when all is as it should be, False when something there differs.

    Safe to repeat, and for two to do at once. Waits at most about ``patience`` seconds for an X-Ray that does not answer.
    ``typed_endpoint``: where X-Ray is for the person who types the commands, if that is not where it is for this process.

    Raises:
        InitError: X-Ray does not answer, refuses, or the rule's file cannot be used.
    """
    calls = _Calls(settings, patience)
    told = False

    def with_command(text: str, *arguments: str) -> None:
        nonlocal told
        if not told:
            say(f"the commands that follow can be typed by hand, after:\n  {environment(settings)}")
        told = True
        say(f"{text}:\n  {command(typed_endpoint or settings.xray_endpoint, *arguments)}")

    right = True
    for thing in (_sampling_rule(), _group()):
        found = calls.call(thing.find)
        if found is None and calls.create(thing):
            with_command(f"made {thing.what}", *thing.creating)
            continue
        if found is None:
            found = calls.call(thing.find)
        differs = _differences(thing.wanted, found or {})
        if differs:
            right = False
            values = ", ".join(f"{name} is {have!r} and not {want!r}" for name, (have, want) in differs.items())
            changes = thing.changing({name: want for name, (_, want) in differs.items()})
            with_command(f"{thing.what} differs from {thing.source}: {values}. It was left so; what changes it", *changes)
        else:
            say(f"{thing.what} is there, as {thing.source} says")
    return right


# --- Commands ------------------------------------------------------------------------------------------------------


def environment(settings: Settings) -> str:
    """What a person sets in the shell before the commands. The keys only where they are the local ones, which are no secret."""
    variables = {"AWS_DEFAULT_REGION": settings.aws_region}
    if (settings.aws_access_key_id, settings.aws_secret_access_key.get_secret_value()) == (LOCAL_AWS_KEY, LOCAL_AWS_SECRET):
        variables |= {"AWS_ACCESS_KEY_ID": LOCAL_AWS_KEY, "AWS_SECRET_ACCESS_KEY": LOCAL_AWS_SECRET}
    return shlex.join(["export", *(f"{name}={value}" for name, value in variables.items())])


def command(endpoint: str, *arguments: str) -> str:
    """``aws xray …`` as it is typed in the project's folder. ``endpoint``: empty for the region's own."""
    return shlex.join(["aws", "xray", *arguments, *(("--endpoint-url", endpoint) if endpoint else ())])


# --- What is made --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Thing:
    """One thing to make.

    ``wanted``: its members, as the API names them. ``find`` and ``create`` are one call each (``find`` of all pages).
    ``creating``, ``changing``: the arguments of the commands that make it, and that give it other values.
    """

    what: str
    source: str
    wanted: Mapping[str, Any]
    find: Callable[[XRayClient], Mapping[str, Any] | None]
    create: Callable[[XRayClient], object]
    creating: tuple[str, ...]
    changing: Callable[[Mapping[str, Any]], tuple[str, ...]]


def _sampling_rule() -> _Thing:
    """The sampling rule of the file."""
    request = read_rule(ROOT / RULE_FILE)
    rule: dict[str, Any] = request["SamplingRule"]
    name = rule["RuleName"]

    def find(xray: XRayClient) -> Mapping[str, Any] | None:
        pages = xray.get_paginator("get_sampling_rules").paginate()
        rules = [record.get("SamplingRule", {}) for page in pages for record in page["SamplingRuleRecords"]]
        return next((each for each in rules if each.get("RuleName") == name), None)

    return _Thing(
        f"sampling rule {name}",
        RULE_FILE.as_posix(),
        rule,
        find,
        lambda xray: xray.create_sampling_rule(**request),
        ("create-sampling-rule", "--cli-input-json", f"file://{RULE_FILE.as_posix()}"),
        lambda changes: ("update-sampling-rule", "--sampling-rule-update", json.dumps({"RuleName": name, **changes})),
    )


def _group() -> _Thing:
    """The group of the application's traces."""

    def find(xray: XRayClient) -> Mapping[str, Any] | None:
        groups = [group for page in xray.get_paginator("get_groups").paginate() for group in page["Groups"]]
        return next((each for each in groups if each.get("GroupName") == GROUP), None)

    return _Thing(
        f"group {GROUP}",
        "compose/init.py",
        {"FilterExpression": EXPRESSION},
        find,
        lambda xray: xray.create_group(GroupName=GROUP, FilterExpression=EXPRESSION),
        ("create-group", "--group-name", GROUP, "--filter-expression", EXPRESSION),
        lambda changes: ("update-group", "--group-name", GROUP, "--filter-expression", changes["FilterExpression"]),
    )


def _differences(want: Mapping[str, Any], have: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """(what is there, what should be) of each member that differs. What X-Ray adds of its own (an ARN) is no difference."""
    return {name: (have.get(name), value) for name, value in want.items() if have.get(name) != value}


def read_rule(path: Path) -> dict[str, Any]:
    """The request in the rule's file. Raises InitError where it is none."""
    try:
        request: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(request["SamplingRule"]["RuleName"], str):
            raise TypeError("RuleName is no text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise InitError(f'{path} holds no sampling rule ({reason}); it must look like {{"SamplingRule": {{"RuleName": …}}}}') from None
    return request


# --- Calls ---------------------------------------------------------------------------------------------------------


@dataclass
class _Calls:
    """Calls of X-Ray, repeated while it does not answer, until ``patience`` seconds after the first."""

    settings: Settings
    patience: float

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + self.patience
        self._client: XRayClient | None = None

    def call(self, work: Callable[[XRayClient], T]) -> T:
        """What ``work`` returns. Raises InitError."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
        from botocore.exceptions import ConnectionError as BotoConnectionError

        while True:
            try:
                return work(self._made())
            except ClientError as error:
                code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
                if code in _REFUSED:
                    raise InitError(
                        f"X-Ray does not let this key do {error.operation_name} ({code}: {message}); it needs {_ACTIONS}. "
                        f"Check AWS_ACCESS_KEY_ID in .env, then: make init"
                    ) from None
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                if status < 500 and code not in _TRANSIENT:
                    raise _Refusal(f"X-Ray answered {error.operation_name} with {code}: {message}") from None
                reason = f"it answered {code}: {message}"
            except NoCredentialsError:
                raise InitError(
                    "there are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in .env, then: make init"
                ) from None
            except (HTTPClientError, BotoConnectionError) as error:
                reason = str(error)
            except BotoCoreError as error:
                raise InitError(f"X-Ray cannot be asked: {error}") from None
            if time.monotonic() + _PAUSE > self._deadline:
                up = "make up, then: " if self.settings.mode == "offline" else ""
                where = self.settings.xray_endpoint or f"region {self.settings.aws_region}"
                raise InitError(f"X-Ray ({where}) does not answer: {reason}; next: {up}make init")
            time.sleep(_PAUSE)

    def create(self, thing: _Thing) -> bool:
        """Whether it was made; False where it has come to exist meanwhile."""
        try:
            self.call(thing.create)
        except _Refusal:
            if self.call(thing.find) is None:
                raise
            return False
        return True

    def _made(self) -> XRayClient:
        if self._client is None:
            # Only here: it takes a moment, and most commands do not need it.
            import boto3.session
            from botocore.config import Config

            settings = self.settings
            session = boto3.session.Session(
                aws_access_key_id=settings.aws_access_key_id or None,
                aws_secret_access_key=settings.aws_secret_access_key.get_secret_value() or None,
                aws_session_token=settings.aws_session_token.get_secret_value() or None,
                region_name=settings.aws_region,
            )
            config = Config(
                connect_timeout=3,
                read_timeout=10,
                retries={"max_attempts": 0},
                # None: those of the environment. Offline an HTTP proxy leads nowhere.
                proxies={} if settings.mode == "offline" else None,
            )
            self._client = session.client("xray", endpoint_url=settings.xray_endpoint or None, config=config)
        return self._client


class _Refusal(InitError):
    """X-Ray understood the call and will not do it."""
