"""``python -m localstack.rollbar``: the local Rollbar on ROLLBAR_PORT, kept in ``data/rollbar.duckdb`` below STATE_DIR."""

from __future__ import annotations

import sys

from compose.settings import LOCAL_ROLLBAR_POST_TOKEN, LOCAL_ROLLBAR_READ_TOKEN, Settings, load_or_exit
from localstack.rollbar.models import Rollbar
from localstack.rollbar.routes import Scope, create_app
from localstack.serve import serve
from localstack.store import StoreError


def tokens(settings: Settings) -> dict[str, frozenset[Scope]]:
    """The project's two access tokens. As at Rollbar, one that posts does nothing else, and one that reads may also write."""
    posting = frozenset({Scope.POST_SERVER_ITEM})
    reading = frozenset({Scope.READ, Scope.WRITE})
    post = settings.rollbar_access_token.get_secret_value() or LOCAL_ROLLBAR_POST_TOKEN
    read = settings.rollbar_read_token.get_secret_value() or LOCAL_ROLLBAR_READ_TOKEN
    return {post: posting | reading} if post == read else {post: posting, read: reading}


def main() -> int:
    settings = load_or_exit()
    try:
        state = Rollbar(settings.data_dir / "rollbar.duckdb")
    except StoreError as error:
        print(f"rollbar: {error}", file=sys.stderr)
        return 2
    serve("rollbar", create_app(state, tokens(settings)), settings.bind_host, settings.rollbar_port, state.close)
    return 0


if __name__ == "__main__":
    sys.exit(main())
