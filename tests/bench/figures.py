"""Figures and their yardsticks, and the tables they are printed as."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured figure beside a yardstick of the same run.

    ``ratio`` is value / yardstick; absolute figures move with the machine, ratios hold. ``reach`` says in words what was aimed at.
    """

    what: str
    value: float
    unit: str
    yardstick: str = ""
    yardstick_value: float | None = None
    reach: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.yardstick_value if self.yardstick_value else None


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine() -> str:
    """The machine in one line: what a reader needs to place the figures."""
    model = ""
    try:
        with Path("/proc/cpuinfo").open() as info:
            model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "")
    except OSError:
        model = platform.processor()
    memory = psutil.virtual_memory().total / 2**30
    cores = f"{os.cpu_count()} cores ({model or platform.machine()})"
    return f"{cores}, {memory:.0f} GiB, {platform.system()} {platform.release()}, Python {platform.python_version()}"


@dataclass(frozen=True)
class Section:
    """One table: what is printed and what is written to the documentation."""

    title: str
    headings: tuple[str, ...]
    #: Headings of the columns that hold numbers.
    numeric: frozenset[str]
    rows: Sequence[tuple[str, ...]]


def section(title: str, figures: Sequence[Figure]) -> Section:
    """A row for each figure."""
    headings = ("what", "figure", "unit", "yardstick, same run", "ratio", "reach")
    return Section(title, headings, frozenset({"figure", "ratio"}), [_cells(figure) for figure in figures])


def _cells(figure: Figure) -> tuple[str, ...]:
    yardstick = f"{figure.yardstick}: {number(figure.yardstick_value)}" if figure.yardstick_value is not None else figure.yardstick
    ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
    return figure.what, number(figure.value), figure.unit, yardstick, ratio, figure.reach


def table(shown: Section) -> Table:
    """The section as a table for a terminal."""
    result = Table(title=shown.title, title_justify="left")
    for heading in shown.headings:
        result.add_column(heading, justify="right" if heading in shown.numeric else "left")
    for row in shown.rows:
        result.add_row(*row)
    return result


def markdown(shown: Section) -> str:
    """The section as a Markdown table."""
    rule = "|".join("---:" if heading in shown.numeric else "---" for heading in shown.headings)
    lines = [f"## {shown.title}", "", "| " + " | ".join(shown.headings) + " |", f"|{rule}|"]
    lines += ["| " + " | ".join(row) + " |" for row in shown.rows]
    return "\n".join(lines) + "\n"
