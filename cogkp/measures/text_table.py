"""Plain-text tables for reports."""

from __future__ import annotations

from collections.abc import Sequence

from cogkp.errors import printable
from cogkp.measures.evidence import Table

__all__ = ["aligned", "number", "share", "table_lines"]


def number(value: float | None) -> str:
    """Write a figure; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def share(value: float | None) -> str:
    """Write a share in percent; a dash where there is none."""
    return "-" if value is None else f"{value:.1%}"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Set words under each other: the first column to the left, all others to the right.

    Example:
        >>> aligned([("point", "px"), ("tip", "0.5")])
        ['point   px', 'tip    0.5']
    """
    lines = [list(map(printable, line)) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]


def table_lines(table: Table) -> list[str]:
    """Write a table with its title above and its notes below."""
    title = [printable(table.title)] if table.title else []
    return [*title, *aligned([table.head, *table.rows]), *map(printable, table.notes)]
