"""Import label tables of DeepLabCut and Lightning Pose: CSV with the header rows scorer, bodyparts and coords.

A row names an image, in one column (``labeled-data/m4s1/img0000.png``) or in three, and gives x and y for each point.
Not labelled is a point whose cells are empty, ``NaN`` or ``NA``, or (-1, -1), or (0, 0) with a ``likelihood`` of 0, or
whose ``visible`` is 0. Else ``likelihood``, which prediction tables have, is checked and left out. Pixels are taken as
they are: both programs count from the centre of the top-left pixel, as we do.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from cogkp.data.images import read_grey
from cogkp.data.importing import Imported, ImportedLine, located
from cogkp.data.keypoint.importers.table_cells import Row, number_in, read_cells
from cogkp.errors import DataError, ImageError, Problem
from cogkp.files import is_file, leads_out

COORDS = ("x", "y", "likelihood", "visible")
HEADER = ("scorer", "bodyparts", "coords")
MISSING_MARK = (-1.0, -1.0)
REMEDY = "Leave out separators of thousands; where commas separate cells, numbers need decimal points."
TRUTHS = {"true": "1", "false": "0"}
PARENTS_SEARCHED = 3

log = logging.getLogger("cogkp")


@attrs.frozen
class LabelTable:
    """One label file, its header understood.

    Args:
        columns: for each point, the column of each coordinate it has.
        rows: line number and cells of each labelled image.
        decimal_comma: whether numbers are written as in 50,5.
    """

    path: Path
    index_columns: int
    columns: Mapping[str, Mapping[str, int]]
    rows: tuple[Row, ...]
    decimal_comma: bool


def _tables_in(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError("no such file or folder", where=str(source))
    found = sorted(path for path in source.rglob("CollectedData*.csv") if path.is_file())
    if not found:
        raise DataError("no label table found", where=str(source), expected="CollectedData*.csv in it or below it")
    return found


def _check_header(path: Path, rows: Sequence[Row]) -> None:
    firsts = [row.cells[0].lower() for row in rows[:4]]
    if "individuals" in firsts:
        raise DataError(
            "label tables of several animals are not supported",
            where=str(path),
            expected=f"header rows {', '.join(HEADER)}",
            got=f"header rows {', '.join(firsts)}",
            hint="Export one table per animal.",
        )
    if tuple(firsts[:3]) != HEADER:
        shown = ", ".join(map(repr, firsts[:3])) or "an empty file"
        raise DataError(
            "not a label table",
            where=str(path),
            expected=f"first cells {', '.join(HEADER)}",
            got=f"first cells {shown}",
            hint="Cells may be separated by commas, semicolons or tabs.",
        )


def _point_columns(names: list[str], coords: list[str], first: int) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Map each point and coordinate to its column; also say what is wrong with the header."""
    columns: dict[str, dict[str, int]] = {}
    wrong = []
    for column in range(first, max(len(names), len(coords))):
        name = names[column] if column < len(names) else ""
        coord = coords[column] if column < len(coords) else ""
        place = f"column {column + 1} ({name!r}, {coord!r})"
        if not name or coord not in COORDS:
            wrong.append(f"{place} is not a point and one of {', '.join(COORDS)}")
        elif coord in columns.setdefault(_key(name), {}):
            wrong.append(f"{place} appears twice")
        else:
            columns[_key(name)][coord] = column
    wrong += [f"point {name!r} lacks x or y" for name, have in columns.items() if not {"x", "y"} <= set(have)]
    return columns, wrong if columns else [*wrong, "no points"]


def _key(name: str) -> str:
    """Make a point's name usable within a datakey, where dots separate levels."""
    return name.replace(".", "_")


def _open_table(path: Path) -> LabelTable:
    found = read_cells(path, HEADER)
    rows = found.rows
    _check_header(path, rows)
    (_, scorers), (_, names), (number, coords) = rows[:3]
    index_columns = next((i for i, cell in enumerate(scorers) if i and cell), len(scorers))
    columns, wrong = _point_columns(names, coords, index_columns)
    if wrong:
        raise DataError.listing([Problem("odd header", where=f"{path}:{number}", got=line) for line in wrong])
    if len(rows) == len(HEADER):
        raise DataError("the label table has no rows", where=str(path))
    return LabelTable(path, index_columns, columns, rows[3:], found.decimal_comma)


def _point(cells: Mapping[str, str], decimal_comma: bool) -> tuple[list[float] | None, str, str]:
    """Read one point of one row; with it what is wrong with it, and why it counts as not labelled, if any."""
    try:
        spoken = {"visible": TRUTHS.get(cells["visible"].lower(), cells["visible"])} if "visible" in cells else {}
        values = {coord: number_in(cell, decimal_comma) for coord, cell in {**cells, **spoken}.items()}
    except ValueError as error:
        return None, f"{error}. {REMEDY}" if "," in "".join(cells.values()) else str(error), ""
    x, y = values["x"], values["y"]
    if (x is None) != (y is None):
        return None, "only one of x and y", ""
    if x is None or y is None:
        return None, "", "empty"
    if (visible := values.get("visible")) is not None and visible <= 0:
        return None, "", f"visible is {visible:g}"
    if (x, y) == MISSING_MARK:
        return None, "", "(-1, -1), a mark for missing"
    if x == y == values.get("likelihood") == 0:
        return None, "", "(0, 0) with a likelihood of 0"
    return [x, y], "", ""


def _find_image(table: Path, cells: Sequence[str]) -> Path:
    """Look for a named image beside its table, below the folders above it, and under its bare name; decode it."""
    name = PurePosixPath("/".join(cells).replace("\\", "/"))
    if not name.name or leads_out(str(name)):
        raise ImageError("an image must lie within the project", got=repr(str(name)))
    folders = [table.parent, *list(table.resolve().parents)[1 : PARENTS_SEARCHED + 1]]
    candidates = [*(folder / name for folder in folders), table.parent / name.name]
    found = next((path for path in candidates if is_file(path)), None)
    if found is None:
        raise ImageError("no such image", got=repr(str(name)))
    read_grey(found)
    return found


def _line(
    table: LabelTable, number: int, row: list[str], unlabelled: Counter[str]
) -> tuple[ImportedLine | None, list[Problem]]:
    where = f"{table.path}:{number}"
    expected = table.index_columns + sum(map(len, table.columns.values()))
    if len(row) != expected:
        return None, [Problem("wrong number of cells", where, str(expected), str(len(row)))]
    read = {
        name: _point({coord: row[column] for coord, column in columns.items()}, table.decimal_comma)
        for name, columns in table.columns.items()
    }
    points = {name: point for name, (point, _, _) in read.items()}
    unlabelled.update(f"{name} {mark}" for name, (_, _, mark) in read.items() if mark)
    problems = [
        Problem(f"bad label of {name!r}", where, "two numbers, or empty cells", wrong)
        for name, (_, wrong, _) in read.items()
        if wrong
    ]
    try:
        image = _find_image(table.path, row[: table.index_columns])
    except ImageError as error:
        return None, [*problems, located(error.problem, where)]
    record: dict[str, Any] = {"image": image, "points": points, "source": "/".join(row[: table.index_columns])}
    return ImportedLine(record=record, where=where), problems


def _repeated(lines: Sequence[ImportedLine]) -> list[Problem]:
    first: dict[Path, str] = {}
    problems = []
    for line in lines:
        image = line.record["image"].resolve()
        if image in first:
            problems.append(Problem("image labelled twice", line.where, got=f"{image.name}, see {first[image]}"))
        first.setdefault(image, line.where)
    return problems


def _check_same_points(tables: Sequence[LabelTable]) -> None:
    first = tables[0]
    for table in tables[1:]:
        odd = sorted(set(table.columns) ^ set(first.columns))
        if odd:
            raise DataError(
                "label tables name different points", where=f"{table.path} and {first.path}", got=", ".join(odd)
            )


def read_deeplabcut(source: Path) -> Imported:
    """Read one label table (CSV), or all ``CollectedData*.csv`` below a project folder; raises DataError.

    Returns:
        One line per image: ``image``, ``points.<name>`` (null where not labelled) and ``source``.
    """
    tables = [_open_table(path) for path in _tables_in(source)]
    _check_same_points(tables)
    unlabelled: Counter[str] = Counter()
    results = [_line(table, number, row, unlabelled) for table in tables for number, row in table.rows]
    lines = tuple(line for line, _ in results if line is not None)
    problems = [problem for _, found in results for problem in found] + _repeated(lines)
    if problems:
        raise DataError.listing(problems)
    names = list(tables[0].columns)
    log.info("%d images with %d points from %d tables", len(lines), len(names), len(tables))
    for why, count in sorted(unlabelled.items()):
        log.info("%s: not labelled %d times: %s", source, count, why)
    return Imported(
        lines=lines, config={"data_mappings": {"x": ["image"], "y": [[f"points.{name}" for name in names]]}}
    )
