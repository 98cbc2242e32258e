"""Serves the web page on COMPARE_PORT.

    python -m services.compare.web           # until SIGTERM: the process `compare` of the sandbox
    python -m services.compare.web --open    # in a browser; where nothing serves it yet, serves it here until Ctrl-C

The page needs no other process: what was compared, or imported, can be looked at while nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence

import requests

from compose.settings import Settings, load_or_exit
from localstack.serve import serve
from services.compare.web.app import create_app


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.compare.web", description="The web page of Parallax.")
    parser.add_argument("--open", action="store_true", help="open it in a browser; serve it here where nothing serves it yet")
    options = parser.parse_args(arguments)
    settings = load_or_exit()
    if not options.open:
        run(settings)
        return 0
    address = settings.page_url
    served = serves(address)
    if served is False:
        print(f"open: port {settings.compare_port} (COMPARE_PORT) is another program's; `make doctor` names it", file=sys.stderr)
        return 1
    print(address if served else f"{address}  (served here until Ctrl-C: the sandbox is not up)", flush=True)
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)
    if not served:
        run(settings)
    return 0


def run(settings: Settings) -> None:
    serve("compare", create_app(settings), settings.bind_host, settings.compare_port, close=lambda: None, threads=8)


def serves(address: str) -> bool | None:
    """Whether Parallax's page is there: None where nobody listens, False where it is somebody else's."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(f"{address}healthz", timeout=10)
        except requests.ConnectionError:
            return None
        except requests.RequestException:
            return False
    return answer.ok and answer.text.strip() == "parallax"


if __name__ == "__main__":
    sys.exit(main())
