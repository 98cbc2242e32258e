"""JSON over HTTP as a reader needs it: bounded, patient with rate limits, and never an empty answer instead of an error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type, stop_before_delay

from services.compare.readers.base import Unreadable, error_line, parse

#: Seconds to connect, and to wait for an answer.
TIMEOUT = (5.0, 60.0)
#: The same for a page that somebody waits for.
PAGE_TIMEOUT = (2.0, 8.0)
#: Seconds to wait after 429 where the vendor does not say how long.
DEFAULT_WAIT = 5.0


class Refusal(Unreadable):
    """The vendor answered with an error: its HTTP ``status`` and its body's JSON (None where it is none)."""

    def __init__(self, reason: str, hint: str = "", final: bool = False, *, status: int, document: Any = None) -> None:
        super().__init__(reason, hint, final)
        self.status = status
        self.document = document


class _TryAgain(Exception):
    """The vendor asks to come back later."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Api:
    """One vendor's HTTP API.

    ``patience``: seconds that rate limits and 502, 503, 504 may cost one call at most. ``key_hint``: which setting holds the key.
    ``timeout``: seconds to connect, and to wait for an answer.
    """

    def __init__(
        self, vendor: str, url: str, headers: Mapping[str, str], key_hint: str, patience: float, timeout: tuple[float, float] = TIMEOUT
    ) -> None:
        self.vendor = vendor
        self.url = url.rstrip("/")
        self.key_hint = key_hint
        self._patience = patience
        self._timeout = timeout
        self._session = requests.Session()
        # An HTTP proxy or a .netrc of this machine must neither see the key nor change it.
        self._session.trust_env = False
        self._session.headers.update({"User-Agent": "parallax-compare", "Accept": "application/json", **headers})

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """The answer's JSON. Raises Unreadable for everything else."""
        retrying = Retrying(
            retry=retry_if_exception_type(_TryAgain), wait=_wait, stop=stop_before_delay(self._patience), sleep=time.sleep, reraise=False
        )
        try:
            return retrying(self._once, method, path, arguments)
        except RetryError as error:
            last = error.last_attempt.exception()
            if not self._patience and isinstance(last, _TryAgain):
                raise Unreadable(f"{self.vendor} {last}", f"ask again in {last.seconds:.0f} s") from last
            raise Unreadable(
                f"{self.vendor} {last}, for longer than {self._patience:g} s", "raise COMPARE_TIMEOUT, or try again later"
            ) from last

    def _once(self, method: str, path: str, arguments: dict[str, Any]) -> Any:
        try:
            # A redirect would carry the key to wherever it points.
            answer = self._session.request(method, f"{self.url}{path}", timeout=self._timeout, allow_redirects=False, **arguments)
        except requests.RequestException as error:
            raise Unreadable(f"{self.vendor} does not answer at {self.url} ({_cause(error)})", "`make status` shows what runs") from error
        if answer.status_code == 429:
            raise _TryAgain("limits the rate of requests (429)", _seconds(answer))
        if answer.status_code in (502, 503, 504):
            raise _TryAgain(f"is not available ({answer.status_code})", _seconds(answer))
        if answer.is_redirect:
            raise Unreadable(
                f"{self.vendor} answered {method} {path} with {answer.status_code}, a redirect, which the key does not follow",
                f"is {self.url} its API?",
                final=True,
            )
        if not answer.ok:
            raise self._refusal(answer, f"{method} {path}")
        try:
            return parse(answer.content)
        except ValueError as error:
            raise Unreadable(
                f"{self.vendor} answered {method} {path} with something that is not JSON", f"is {self.url} its API?"
            ) from error

    def _refusal(self, answer: requests.Response, what: str) -> Unreadable:
        said = _message(answer)
        status, document = answer.status_code, _document(answer)
        if status == 401:
            return Refusal(
                f"{self.vendor} refuses the key (401: {said})", f"set {self.key_hint}", final=True, status=status, document=document
            )
        if status in (402, 403):
            return Refusal(
                f"{self.vendor} does not let this key read ({status}: {said})",
                f"give {self.key_hint} the permission, or use a plan that has it",
                final=True,
                status=status,
                document=document,
            )
        return Refusal(f"{self.vendor} answered {what} with {status} ({said})", status=status, document=document)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    return error.seconds if isinstance(error, _TryAgain) else DEFAULT_WAIT


def _seconds(answer: requests.Response) -> float:
    """How long the vendor asks to wait: Retry-After in seconds or as a date (RFC 9110), or Rollbar's own header."""
    text = answer.headers.get("Retry-After") or answer.headers.get("X-Rate-Limit-Remaining-Seconds")
    if text is None:
        return DEFAULT_WAIT
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return DEFAULT_WAIT


def _message(answer: requests.Response) -> str:
    """What an error body says, in one line: Honeycomb's ``error`` and ``detail``, Rollbar's ``message``, else its first words."""
    body = _document(answer)
    if isinstance(body, dict):
        for key in ("detail", "error", "message", "title"):
            if isinstance(body.get(key), str) and body[key]:
                return error_line(Exception(body[key]))
    return error_line(Exception(answer.text.strip()[:120] or answer.reason or "no message"))


def _document(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS failed"
    return "no connection"
