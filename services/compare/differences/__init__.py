"""Two runs against each other: what got slower, what is lost now, what costs more. From their records alone, so no vendor is needed.

    comparison = contrast(Record.open(after), Record.open(before), Thresholds())
    comparison.exit_status, comparison.exceeded

================  ==============================================================================================
``quantiles``     a quantile with the interval in which the true one lies: what chance alone explains is no change
``thresholds``    what is still accepted, parsed from one line
``contrast``      two records in, checks out
``losses``        the requests that arrived before and do not now
``table``         for the terminal
``markdown``      for a pull request
``junit``         for CI
================  ==============================================================================================
"""

from __future__ import annotations

from services.compare.differences.contrast import Check, Contrast, contrast
from services.compare.differences.thresholds import Thresholds, ThresholdsError

__all__ = ["Check", "Contrast", "Thresholds", "ThresholdsError", "contrast"]
