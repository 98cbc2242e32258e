"""The web page's application in a test: its client, and what a page says."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from services.compare.web.app import create_app
from tests.api.servers import hermetic_settings
from tests.ports import free_port


def web(state_dir: Path, **settings: Any) -> FlaskClient:
    """A client of the application with these settings, defaults elsewhere; nobody answers at vendors' ports that are not given."""
    ports = {name: free_port() for name in ("aws_port", "honeycomb_port", "rollbar_port") if name not in settings}
    return create_app(hermetic_settings(**({"state_dir": state_dir} | ports | settings))).test_client()


def said(client: FlaskClient, address: str, status: int = 200) -> str:
    """What the page says, without its markup and with one space for many."""
    answer = client.get(address)
    assert answer.status_code == status, f"{address}: {answer.status_code}\n{answer.text[:2000]}"
    main = re.sub(r"(?s)^.*<main[^>]*>", "", answer.text)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", main)).split())
