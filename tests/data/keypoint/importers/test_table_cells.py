"""Label tables in the encodings, separators and decimal marks of other programs and countries."""

import codecs
import json

import cv2
import numpy as np
import pytest

from cogkp.data.keypoint.importers.deeplabcut import read_deeplabcut
from cogkp.errors import DataError
from tests.builders.command import run_s6

TABLE = (
    "scorer,me,me,me,me\nbodyparts,ball,ball,pôle,pôle\ncoords,x,y,x,y\nimg/0.png,50.5,60.25,1e1,7\nimg/1.png,,,3,4\n"
)
WANTED = [{"ball": [50.5, 60.25], "pôle": [10.0, 7.0]}, {"ball": None, "pôle": [3.0, 4.0]}]


@pytest.fixture
def project(tmp_path):
    (tmp_path / "img").mkdir()
    for name in "0123":
        cv2.imwrite(str(tmp_path / "img" / f"{name}.png"), np.full((120, 160), 60, np.uint8))
    return tmp_path


def points(project, content):
    path = project / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [line.record["points"] for line in read_deeplabcut(path).lines]


def refusal(project, content):
    with pytest.raises(DataError) as caught:
        points(project, content)
    return str(caught.value)


def semicolons(text):
    return text.replace(",", ";").replace(".", ",").replace(",png", ".png")


@pytest.mark.parametrize(
    "content",
    [
        TABLE,
        TABLE.replace("\n", "\r\n"),
        TABLE.replace("\n", "\r"),
        TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        semicolons(TABLE),
        semicolons(TABLE).replace(";", "\t"),
        "sep=;\n" + semicolons(TABLE),
        TABLE.replace("\n", ",,,\n"),
        TABLE.replace("coords,x,y,x,y\n", "coords,x,y,x,y,,\n"),
        TABLE + ",,,,\n\n  \n",
        "\n".join(",".join(f'"{cell}"' for cell in row.split(",")) for row in TABLE.splitlines()),
        TABLE.replace("scorer", "Scorer").replace("coords", "COORDS"),
        codecs.BOM_UTF8 + TABLE.encode(),
        TABLE.encode("utf-16"),
        codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
        TABLE.encode("utf-16-le"),
        TABLE.encode("utf-16-be"),
        TABLE.encode("utf-32"),
        semicolons(TABLE).encode("utf-16"),
        TABLE.encode("latin-1"),
        TABLE.encode("cp1252"),
    ],
)
def test_one_table_written_in_many_ways_says_one_thing(project, content):
    assert points(project, content) == WANTED


@pytest.mark.parametrize("cell", ["", "NaN", "nan", "NA", "N/A", "#N/A", "None", "null", " na "])
def test_words_for_missing(project, cell):
    table = f"scorer,me,me\nbodyparts,ball,ball\ncoords,x,y\nimg/0.png,{cell},{cell}\n"
    assert points(project, table) == [{"ball": None}]


@pytest.mark.parametrize(
    ("columns", "cells", "point"),
    [
        ("x,y", "-1,-1", None),
        ("x,y", "-1.0,-1.0", None),
        ("x,y", "0,0", [0.0, 0.0]),
        ("x,y,likelihood", "0,0,0", None),
        ("x,y,likelihood", "0,0,0.9", [0.0, 0.0]),
        ("x,y,visible", "0,0,0", None),
        ("x,y,visible", "5,6,0", None),
        ("x,y,visible", "5,6,1", [5.0, 6.0]),
        ("x,y,visible", "5,6,-1", None),
        ("x,y,visible", "5,6,True", [5.0, 6.0]),
        ("x,y,visible", "5,6,FALSE", None),
        ("x,y,visible", "5,6,", [5.0, 6.0]),
        ("x,y", "-1,50", [-1.0, 50.0]),
    ],
)
def test_marks_for_missing(project, columns, cells, point):
    width = columns.count(",") + 1
    head = f"scorer{',me' * width}\nbodyparts{',ball' * width}\ncoords,{columns}\n"
    assert points(project, f"{head}img/0.png,{cells}\n") == [{"ball": point}]


def test_latin_1_is_told(project, caplog):
    points(project, TABLE.encode("latin-1"))
    assert "not UTF-8" in caplog.text


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (semicolons(TABLE).replace("50,5", "50.5"), "numbers can be read in two ways"),
        (TABLE.replace(",", ";").replace("50.5", "1,250").replace("60.25", "85").replace("1e1", "10"), "in two ways"),
        (TABLE.replace(",", "\t").replace("50.5", "1.250").replace("60.25", "85").replace("1e1", "10"), "in two ways"),
        (TABLE.replace("50.5", "5_0"), "bad label of 'ball'"),
        (TABLE.replace("50.5", '"50,5"'), "numbers need decimal points"),
        (TABLE.replace("50.5", "50,5"), "wrong number of cells"),
        (semicolons(TABLE).replace("50,5", "1.250,5"), "bad label of 'ball'"),
        (TABLE.replace("50.5", "inf"), "not a finite number"),
        (TABLE.replace("50.5", "-inf"), "not a finite number"),
        (TABLE.replace("50.5", "left"), "bad label of 'ball'"),
        (TABLE.replace(",", "|"), "not a label table"),
        (TABLE.replace("img/1.png,,,3,4", "img/1.png,,,3"), "only one of x and y"),
        (TABLE.replace("img/1.png,,,3,4\n", "img/1.png,,,3"), "wrong number of cells"),
        (TABLE.replace("img/1.png,,,3,4", "img/1.png,,,3,4,9"), "wrong number of cells"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_what_can_be_read_in_two_ways_is_one_line_with_the_remedy(project, content, what):
    text = refusal(project, content)
    assert what in text
    assert "\n" not in text


def test_rows_may_lack_empty_cells_at_their_end(project):
    wanted = [*WANTED, {"ball": [5.0, 6.0], "pôle": None}, {"ball": None, "pôle": None}]
    assert points(project, TABLE + "img/2.png,5,6\nimg/3.png\n") == wanted


def test_three_decimal_places_are_no_thousands_where_any_number_shows_it(project):
    table = "scorer;me;me\nbodyparts;ball;ball\ncoords;x;y\nimg/0.png;1,250;12,500\n"
    assert points(project, table) == [{"ball": [1.25, 12.5]}]


def test_thousands_of_columns(project):
    names = [f"p{number}" for number in range(3000)]
    twice = ",".join(f"{name},{name}" for name in names)
    head = f"scorer{',me' * 6000}\nbodyparts,{twice}\ncoords{',x,y' * 3000}\n"
    (row,) = points(project, f"{head}img/0.png{',1,2' * 2999},,\n")
    assert list(row) == names
    assert row["p2998"] == [1.0, 2.0]
    assert row["p2999"] is None


def test_outside_and_missing_labels_are_told_at_import(project, monkeypatch, capfd):
    head = "scorer,me,me,me,me\nbodyparts,ball,ball,gone,gone\ncoords,x,y,x,y\n"
    rows = ("50,60,-1,-1", "60,60,80,-20", "70,60,5000,30", "80,60,,")
    table = project / "labels.csv"
    table.write_text(head + "".join(f"img/{number}.png,{row}\n" for number, row in enumerate(rows)))
    code, _, told = run_s6(monkeypatch, capfd, "cog", "import", "deeplabcut", table, project / "out")
    assert code == 0
    assert "2 of 6 labels lie outside their image" in told
    assert "labels.csv:5 gone [80, -20]; " in told
    assert "no usable label of gone" in told
    assert "ball 4, gone 0" in told
    assert "gone (-1, -1), a mark for missing" in told
    config = project / "out" / "keypoint.json"
    code, _, told = run_s6(monkeypatch, capfd, "cog", "keypoint", "--config", config, "--dry-run")
    assert code == 0
    assert "label outside its image" in told


def test_a_misspelt_key_is_refused_by_the_dry_run(project, monkeypatch, capfd):
    table = project / "labels.csv"
    table.write_text(TABLE)
    config = project / "out" / "keypoint.json"
    assert run_s6(monkeypatch, capfd, "cog", "import", "deeplabcut", table, project / "out")[0] == 0
    plain = json.loads(config.read_text())
    plain["data_mappings"]["y"] = [["points.bal", "points.pôle"]]
    config.write_text(json.dumps(plain))
    code, _, told = run_s6(monkeypatch, capfd, "cog", "keypoint", "--config", config, "--dry-run")
    assert code == 1
    assert "Did you mean 'points.ball'?" in told
