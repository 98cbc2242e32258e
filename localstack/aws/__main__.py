"""``python -m localstack.aws``: serve the local AWS on AWS_PORT, with its state in STATE_DIR/data/aws.duckdb."""

from __future__ import annotations

import sys

from compose.settings import load_or_exit
from localstack.aws.app import Application
from localstack.aws.signature import Verifier
from localstack.aws.state import State
from localstack.aws.xray.segments.validation import Limits
from localstack.serve import serve
from localstack.store import StoreError


def main() -> None:
    settings = load_or_exit()
    limits = Limits(
        old_trace_ids=settings.xray_reject_old_trace_ids,
        full_traces=settings.xray_reject_full_traces,
        annotations=settings.xray_reject_annotations,
        wrong_types=settings.xray_reject_wrong_types,
    )
    try:
        state = State(settings.data_dir / "aws.duckdb", settings.aws_region, limits)
    except StoreError as error:
        print(f"aws: {error}", file=sys.stderr)
        sys.exit(2)
    verifier = Verifier(settings.aws_access_key_id, settings.aws_secret_access_key.get_secret_value(), settings.aws_region)
    serve("aws", Application(state, verifier), settings.bind_host, settings.aws_port, state.close)


if __name__ == "__main__":
    main()
