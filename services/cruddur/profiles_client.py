"""The call to profiles. Handled failures: 502 when profiles fails or is not there, 504 when it takes too long."""

from __future__ import annotations

import threading
from typing import Any

import requests

from services import faults
from services.errors import ApiError


class ProfilesClient:
    """Calls profiles over HTTP, one connection pool a thread (a requests session is not promised to be thread-safe)."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._local = threading.local()

    def profile(self, handle: str) -> dict[str, Any] | None:
        """The profile of a user; None when profiles does not know the handle."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False  # a proxy of the environment is not meant for a service next door
        try:
            response = session.get(f"{self._url}/api/profiles/{handle}", headers=faults.downstream(), timeout=self._timeout)
            if response.status_code == 404:
                return None
            response.raise_for_status()
            profile = response.json()
        except requests.Timeout:
            raise ApiError(504, "downstream_timeout", f"profiles did not answer within {self._timeout:g} s") from None
        except requests.RequestException:
            raise ApiError(502, "downstream_failed", "profiles failed") from None
        if not isinstance(profile, dict):
            raise ApiError(502, "downstream_failed", "profiles answered with something else than a profile")
        return profile
