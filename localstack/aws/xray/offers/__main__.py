"""Print the page of :mod:`localstack.aws.xray.offers.markdown`, or write it: ``--write``."""

from __future__ import annotations

import sys

from compose.settings import ROOT
from localstack.aws.xray.offers.markdown import render


def main(words: list[str]) -> int:
    """Print the page, or write it to ``docs/local-xray-operations.md``."""
    if words == ["--write"]:
        (ROOT / "docs" / "local-xray-operations.md").write_text(render(), encoding="utf-8")
    else:
        print(render(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
