"""Two runs as one JSON document: everything the other forms show."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from services.compare.differences.contrast import Contrast


def document(contrast: Contrast) -> dict[str, Any]:
    """``checks[]``: where, kind, what, before, after, unit, result, limit, reason, change (a share, or null); ``losses[]``."""
    return {
        "run": contrast.after.document["run"],
        "with": contrast.before.document["run"],
        "thresholds": str(contrast.thresholds),
        "exit_status": contrast.exit_status,
        "conclusion": contrast.conclusion,
        "same_plan": contrast.same_plan,
        "checks": [asdict(check) | {"change": check.change} for check in contrast.checks],
        "losses": [asdict(loss) for loss in contrast.losses],
    }
