"""Anipose files, as Lightning Pose documents them, become the rig they were written from."""

import pytest

from cogkp.data.calibration import FORMATS, open_calibration, read_calibration
from cogkp.errors import DataError
from tests.builders.calibrations import anipose_text, assert_refused, chain, same, toed_in


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "calibration.toml"
    path.write_text(anipose_text(toed_in()))
    return path


def test_what_was_written_is_read(path):
    found = open_calibration(path)
    assert found.format == FORMATS[2]
    assert found.rig.names == ("LL", "LR")
    assert same(found.rig, toed_in(), tolerance=1e-14)  # a rotation went through its Rodrigues vector


def test_the_content_decides_not_the_ending(tmp_path):
    path = tmp_path / "calibration.txt"
    path.write_text(anipose_text(chain()))
    assert len(read_calibration(path)) == 3
    assert read_calibration(path, names=("L", "R", "B")).names == ("L", "R", "B")


FAULTS = {
    "fisheye": ('name = "LR"', 'name = "LR"\nfisheye = true', r"fisheye lens .*camera LR.*another model"),
    "one name": ('name = "LR"', 'name = "LL"', r"two cameras have one name.*got LL"),
    "no size": ("size = [640, 480]", "", r"lacks a field @ .*camera LL: expected size"),
    "wrong size": ("size = [640, 480]", "size = [640.5, 480]", r"not a size of images .*camera LL, size"),
    "four angles": ("rotation = [0.0,", "rotation = [0.0, 0.0,", r"wrong shape @ .*rotation: .*got 4"),
    "NaN": ("translation = [0.0,", "translation = [nan,", r"not finite @ .*camera LL, translation"),
    "words": ("translation = [0.0,", 'translation = ["far",', r"not a table of numbers"),
    "transposed": ("[0.0, 0.0, 1.0]]", "[320.0, 240.0, 1.0]]", r"not upper triangular"),
    "broken": ("[cam_1]", "[cam_1", r"not valid TOML.*Is the file cut off\?"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_impossible_files_are_refused_in_one_line(path, fault):
    assert_refused(path, *FAULTS[fault])


def test_a_table_without_cameras_is_refused(path):
    path.write_text("[metadata]\nerror = 1.0\n")
    with pytest.raises(DataError, match="holds no camera"):
        read_calibration(path)
