"""Runs the local Honeycomb: ``python -m localstack.honeycomb [--enforce-rate-limits]``.

HTTP (OTLP and the API) on HONEYCOMB_PORT, OTLP over gRPC on HONEYCOMB_GRPC_PORT, state in ``<STATE_DIR>/data/honeycomb.duckdb``.
Ends with status 2 and one line when a port is taken, the file cannot be used or a setting is wrong.
"""

from __future__ import annotations

import argparse
import sys

from compose.settings import load_or_exit


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m localstack.honeycomb", description="The local Honeycomb.")
    parser.add_argument("--enforce-rate-limits", action="store_true", help="answer 429 beyond Honeycomb's documented rate limits")
    arguments = parser.parse_args()
    settings = load_or_exit()

    # Only now: the imports take a second, and a wrong setting should not wait for them.
    from localstack.honeycomb import otlp_grpc
    from localstack.honeycomb.models import Honeycomb
    from localstack.honeycomb.results import Results
    from localstack.honeycomb.routes import Keys, create_app
    from localstack.serve import serve
    from localstack.store import StoreError

    keys = Keys(settings.honeycomb_api_key.get_secret_value(), settings.honeycomb_query_key.get_secret_value())
    if not keys.ingest:
        print("honeycomb: HONEYCOMB_API_KEY is empty; set it in .env", file=sys.stderr)
        return 2
    try:
        state = Honeycomb(settings.data_dir / "honeycomb.duckdb")
    except StoreError as error:
        print(f"honeycomb: {error}", file=sys.stderr)
        return 2
    address = f"{settings.bind_host}:{settings.honeycomb_grpc_port}"
    try:
        grpc_server = otlp_grpc.start(address, keys.all, state.add)
    except otlp_grpc.PortBusy:
        state.close()
        print(f"honeycomb: port {address} cannot be bound; `make doctor` names the process that holds it", file=sys.stderr)
        return 2
    results = Results(state)

    def close() -> None:
        grpc_server.stop(grace=5).wait()
        results.close()
        state.close()

    app = create_app(state, results, keys, enforce_rate_limits=arguments.enforce_rate_limits)
    serve("honeycomb", app, settings.bind_host, settings.honeycomb_port, close)
    return 0


if __name__ == "__main__":
    sys.exit(main())
