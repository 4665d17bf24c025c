"""Label tables as DeepLabCut and Lightning Pose write them, and as people break them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cogkp.data.keypoint.importers.deeplabcut import read_deeplabcut
from cogkp.errors import DataError
from tests.builders.shared_data import shared

HEADER = ["scorer,Ann,Ann,Ann,Ann", "bodyparts,nose,nose,tail,tail", "coords,x,y,x,y"]
THREE_COLUMNS = ["scorer,,,Ann,Ann,Ann,Ann", "bodyparts,,,nose,nose,tail,tail", "coords,,,x,y,x,y"]


def project(tmp_path, header=HEADER, rows=("labeled-data/v/img0.png,1,2,3.5,4.25",), table="labeled-data/v"):
    """Make a project with images img0 .. img3 of one video, and one table."""
    folder = tmp_path / "labeled-data" / "v"
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(4):
        cv2.imwrite(str(folder / f"img{index}.png"), np.full((6, 8), 50 * index, np.uint8))
    path = tmp_path / table / "CollectedData_Ann.csv"
    path.write_text("\n".join([*header, *rows]) + "\n")
    return path


def refusal(source):
    with pytest.raises(DataError) as caught:
        read_deeplabcut(source)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("table", ["labeled-data/v", "labeled-data", "."])
def test_a_table_may_lie_anywhere_between_picture_and_project(tmp_path, table):
    path = project(tmp_path, table=table)
    (line,) = read_deeplabcut(path).lines
    assert line.record["points"] == {"nose": [1.0, 2.0], "tail": [3.5, 4.25]}
    assert line.record["image"].resolve() == tmp_path / "labeled-data/v/img0.png"
    assert line.record["source"] == "labeled-data/v/img0.png"
    assert line.where == f"{path}:4"


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (THREE_COLUMNS, "labeled-data,v,img1.png,1,2,3,4"),
        (HEADER, r"labeled-data\v\img1.png,1,2,3,4"),
        (HEADER, "elsewhere/v/img1.png,1,2,3,4"),
    ],
    ids=["three columns", "backslashes", "a project that was moved"],
)
def test_pictures_are_found(tmp_path, header, row):
    (line,) = read_deeplabcut(project(tmp_path, header, [row])).lines
    assert line.record["image"].name == "img1.png"


def test_all_tables_below_a_folder_are_read_together(tmp_path):
    project(tmp_path)
    other = tmp_path / "labeled-data" / "w"
    other.mkdir()
    cv2.imwrite(str(other / "img0.png"), np.zeros((6, 8), np.uint8))
    swapped = ["scorer,Ann,Ann,Ann,Ann", "bodyparts,tail,tail,nose,nose", "coords,x,y,x,y"]
    rows = [*swapped, "labeled-data/w/img0.png,1,2,3,4"]
    (other / "CollectedData_Bob.csv").write_text("\n".join(rows))

    imported = read_deeplabcut(tmp_path)

    assert [line.record["points"]["nose"] for line in imported.lines] == [[1.0, 2.0], [3.0, 4.0]]
    assert imported.config["data_mappings"] == {"x": ["image"], "y": [["points.nose", "points.tail"]]}


@pytest.mark.parametrize("cells", [",", "NaN,nan", " , "])
def test_empty_cells_are_not_labelled(tmp_path, cells):
    (line,) = read_deeplabcut(project(tmp_path, rows=[f"labeled-data/v/img0.png,{cells},3,4"])).lines
    assert line.record["points"] == {"nose": None, "tail": [3.0, 4.0]}


def test_likelihood_is_left_out_and_invisible_points_are_not_labelled(tmp_path):
    header = ["scorer" + ",Ann" * 6, "bodyparts" + ",nose" * 3 + ",tail" * 3, "coords,x,y,likelihood,x,y,visible"]
    row = "labeled-data/v/img0.png,1,2,0.01,3,4,0"
    (line,) = read_deeplabcut(project(tmp_path, header, [row])).lines
    assert line.record["points"] == {"nose": [1.0, 2.0], "tail": None}


def test_dots_in_names_do_not_split_datakeys(tmp_path):
    header = [HEADER[0], "bodyparts,nose.tip,nose.tip,tail,tail", HEADER[2]]
    imported = read_deeplabcut(project(tmp_path, header))
    assert imported.config["data_mappings"]["y"] == [["points.nose_tip", "points.tail"]]


def test_tables_of_several_animals_are_refused(tmp_path):
    header = [HEADER[0], "individuals,a,a,b,b", *HEADER[1:]]
    (line,) = refusal(project(tmp_path, header))
    assert "several animals" in line


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ([], "not a label table"),
        (HEADER[:2], "not a label table"),
        ([HEADER[0], HEADER[1], "coords,x,y,x,z"], "'z'"),
        ([HEADER[0], "bodyparts,nose,nose,nose,nose", HEADER[2]], "appears twice"),
        ([HEADER[0], HEADER[1], "coords,x,y,x,likelihood"], "lacks x or y"),
        ([HEADER[0], "bodyparts,nose,nose,tail", HEADER[2]], "column 5"),
    ],
)
def test_odd_headers_are_named(tmp_path, header, words):
    lines = refusal(project(tmp_path, header))
    assert any(words in line for line in lines)
    assert all("CollectedData_Ann.csv" in line for line in lines)


def test_every_bad_row_has_its_line(tmp_path):
    rows = [
        "labeled-data/v/img0.png,1,2,3,4",
        "labeled-data/v/img1.png,one,2,3,",
        "labeled-data/v/img2.png,1,2,3",
        "labeled-data/v/absent.png,1,2,3,4",
        "labeled-data/v/img0.png,5,6,7,8",
        "../../etc/img3.png,1,2,3,4",
        "labeled-data/v/img3.png,inf,2,3,4",
    ]
    lines = refusal(project(tmp_path, rows=rows))
    expected = {5: "'one'", 6: "cells", 7: "absent.png", 8: "twice", 9: "within the project", 10: "finite"}
    for number, words in expected.items():
        assert any(f"CollectedData_Ann.csv:{number}" in line and words in line for line in lines), (number, lines)
    assert len(lines) == 7


def test_pictures_that_cannot_be_decoded_are_named(tmp_path):
    path = project(tmp_path)
    picture = tmp_path / "labeled-data/v/img0.png"
    picture.write_bytes(picture.read_bytes()[:40])
    (line,) = refusal(path)
    assert "CollectedData_Ann.csv:4" in line
    assert "img0.png" in line


def test_sources_without_tables_are_refused(tmp_path):
    assert "no label table" in refusal(tmp_path)[0]
    assert "no such file" in refusal(tmp_path / "absent")[0]
    empty = tmp_path / "CollectedData.csv"
    empty.write_bytes(b"")
    assert "an empty file" in refusal(empty)[0]
    empty.write_text("\n".join(HEADER))
    assert "no rows" in refusal(empty)[0]
    empty.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(empty)[0]


def test_tables_with_different_points_are_refused(tmp_path):
    project(tmp_path)
    other = tmp_path / "labeled-data" / "CollectedData_Bob.csv"
    other.write_text("scorer,B,B\nbodyparts,ear,ear\ncoords,x,y\nlabeled-data/v/img1.png,1,2\n")
    (line,) = refusal(tmp_path)
    assert "ear, nose, tail" in line


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "pictures", "points"), [("mirror-mouse", 90, 17), ("openfield", 116, 4)])
def test_real_projects_are_read_whole(name, pictures, points):
    imported = read_deeplabcut(shared(name))
    assert len(imported.lines) == pictures
    assert len(imported.config["data_mappings"]["y"][0]) == points
    assert all(isinstance(line.record["image"], Path) for line in imported.lines)


@pytest.mark.real_data
def test_the_share_of_missing_labels_of_a_real_project_is_the_documented_one():
    points = [
        point for line in read_deeplabcut(shared("mirror-mouse")).lines for point in line.record["points"].values()
    ]
    assert np.mean([point is None for point in points]) == pytest.approx(0.088, abs=0.001)
