"""Who may ask, and what a page may do.

The page shows telemetry and can start a load, and any web site that a browser on this machine has open can send requests to loopback. So a
request must name this server as its Host (else a foreign name that resolves to 127.0.0.1 could read the pages: DNS rebinding), and
one that changes something must come from a page of this very server ("Cross-Site Request Forgery Prevention", OWASP: verify the
origin with standard headers).
"""

from __future__ import annotations

import ipaddress
import re

from flask import Flask, Response, abort, request
from werkzeug.exceptions import SecurityError

from compose.settings import Settings

#: Nothing from elsewhere, nothing inline.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # With no-referrer a browser would send "Origin: null" with a form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def protect(app: Flask, settings: Settings) -> None:
    """Check every request to ``app`` and set the headers of every answer."""
    trusted = frozenset(name.lower() for name in trusted_hosts(settings))

    def check_host() -> None:
        # Not Werkzeug's own list, which no IPv6 address ever matches and which is case-sensitive (names are not: RFC 9110, 4.2.3).
        name = re.sub(r":\d+\Z", "", request.host).lower()
        if name not in trusted:
            raise SecurityError(f"Host {request.host!r} is not trusted.")

    # The host first, and of every request, whether there is such a page or not.
    app.before_request(check_host)
    app.before_request(_check_origin)
    app.after_request(_add_headers)


def trusted_hosts(settings: Settings) -> list[str]:
    """Names by which this server may be asked: loopback's, the address it listens on, and COMPARE_HOSTS."""
    hosts = ["localhost", "127.0.0.1", "[::1]", *settings.compare_hosts]
    try:
        bound = ipaddress.ip_address(settings.bind_host)
        if not bound.is_unspecified:
            hosts.append(f"[{bound}]" if bound.version == 6 else str(bound))
    except ValueError:
        hosts.append(settings.bind_host)
    return list(dict.fromkeys(hosts))


def _check_origin() -> None:
    """Refuse what another site's page sends here. A client that is no browser sends neither header."""
    if request.method in _SAFE:
        return
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if (origin is not None and origin != request.host_url.rstrip("/")) or (site is not None and site not in ("same-origin", "none")):
        abort(403, "This came from another site's page. What changes something can only be asked for from Parallax's own pages.")


def _add_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    if "Cache-Control" not in response.headers:
        # What a page shows may have changed a moment later; the browser asks again.
        response.headers["Cache-Control"] = "no-cache"
    return response
