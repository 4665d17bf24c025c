"""OpenCV's files, written by OpenCV, become the rig they were written from."""

import numpy as np
import pytest

from cogkp.data.calibration import FORMATS, open_calibration, read_calibration
from cogkp.errors import DataError
from tests.builders.calibrations import camera, same, stereo_entries, toed_in, write_storage

SIZE = (640, 480)
SPELLINGS = {
    "samples": {},
    "letters": {"M1": "K1", "M2": "K2"},
    "words": {"M1": "cameraMatrix1", "M2": "cameraMatrix2", "D1": "distCoeffs1", "D2": "distCoeffs2"},
    "underscores": {"M1": "camera_matrix_1", "M2": "camera_matrix_2", "D1": "dist_coeffs_1", "D2": "dist_coeffs_2"},
    "sides": {
        "M1": "camera_matrix_left",
        "M2": "camera_matrix_right",
        "D1": "distortion_coefficients_left",
        "D2": "distortion_coefficients_right",
        "R": "rotation_matrix",
        "T": "translation_vector",
    },
}


def renamed(entries, spelling):
    return {SPELLINGS[spelling].get(key, key): value for key, value in entries.items()}


@pytest.mark.parametrize("suffix", [".yml", ".yaml", ".xml", ".json"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_file_of_each_kind_and_spelling(tmp_path, suffix, spelling):
    rig = toed_in()
    path = write_storage(tmp_path / f"stereo{suffix}", renamed(stereo_entries(rig), spelling))
    found = open_calibration(path, size_wh=SIZE)
    assert found.format == FORMATS[1]
    assert found.rig.names == ("LL", "LR")
    assert same(found.rig, rig)


@pytest.mark.parametrize(
    "size",
    [
        {"image_width": 640, "image_height": 480},
        {"imageSize": np.array([640, 480])},
        {"image_size": np.array([[640], [480]])},
    ],
)
def test_the_size_is_found_where_the_file_says_it(tmp_path, size):
    path = write_storage(tmp_path / "stereo.yml", {**stereo_entries(toed_in()), **size})
    assert same(read_calibration(path), toed_in())
    with pytest.raises(DataError, match=r"wrong resolution.*expected 320x240, got 640x480"):
        read_calibration(path, size_wh=(320, 240))


def test_a_missing_size_is_asked_for(tmp_path):
    path = write_storage(tmp_path / "stereo.yml", stereo_entries(toed_in()))
    with pytest.raises(DataError, match=r"how large the images were.*--size"):
        read_calibration(path)


def two_files(folder, suffix=".yml"):
    entries = stereo_entries(toed_in())
    inside = {key: entries[key] for key in ("M1", "D1", "M2", "D2")}
    between = {"R": entries["R"], "T": entries["T"], "R1": np.eye(3), "P1": np.eye(3, 4), "Q": np.eye(4)}
    return (
        write_storage(folder / f"intrinsics{suffix}", inside),
        write_storage(folder / f"extrinsics{suffix}", between),
    )


@pytest.mark.parametrize("suffix", [".yml", ".xml"])
def test_two_files_are_found_by_either_by_both_and_by_their_folder(tmp_path, suffix):
    pair = two_files(tmp_path, suffix)
    for path in (*pair, pair, pair[::-1], tmp_path):
        found = open_calibration(path, size_wh=SIZE)
        assert same(found.rig, toed_in())
        assert set(found.files) == set(pair)


def test_one_of_two_files_alone_says_what_is_missing(tmp_path):
    inside, between = two_files(tmp_path)
    between.unlink()
    with pytest.raises(
        DataError, match=r"lacks an entry @ .*intrinsics\.yml: expected R and T, got M1, D1, M2, D2\. .*extrinsics"
    ):
        read_calibration(inside, size_wh=SIZE)
    inside, between = two_files(tmp_path)
    inside.unlink()
    with pytest.raises(DataError, match=r"lacks an entry @ .*extrinsics\.yml: expected M1 and D1"):
        read_calibration(between, size_wh=SIZE)


def test_files_of_two_calibrations_are_not_mixed(tmp_path):
    between = two_files(tmp_path)[1]
    other = write_storage(tmp_path / "other.yml", {**stereo_entries(toed_in()), "T": np.array([[1.0], [2.0], [3.0]])})
    with pytest.raises(DataError, match="two files disagree"):
        read_calibration([other, between], size_wh=SIZE)


def test_a_folder_of_other_things_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a folder is not a calibration @ .*expected OpenCV's intrinsics\.yml"):
        read_calibration(tmp_path)


def test_one_camera_is_read_too(tmp_path):
    one = camera(np.eye(4))
    entries = {
        "image_width": 640,
        "image_height": 480,
        "camera_matrix": one.K.numpy(),
        "distortion_coefficients": one.distortion.numpy()[:, None],
        "fisheye_model": 0,
    }
    rig = read_calibration(write_storage(tmp_path / "out_camera_data.xml", entries))
    assert rig.names == ("camera",)
    assert rig["camera"].distortion.tolist() == one.distortion.tolist()
    with pytest.raises(DataError, match=r"another model.*got a fisheye"):
        read_calibration(write_storage(tmp_path / "fisheye.xml", {**entries, "fisheye_model": 1}))


ROS = """image_width: 640
image_height: 480
camera_name: head
camera_matrix:
  rows: 3
  cols: 3
  data: [700, 0.0, 320.5, 0.0, 701.5, 240.0, 0, 0, 1]
distortion_model: {model}
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.2, 0.05, 0.001, -0.001, 0.0]
"""


def test_what_ros_writes_of_one_camera(tmp_path):
    path = tmp_path / "head.yaml"
    path.write_text(ROS.format(model="plumb_bob"))
    rig = read_calibration(path)
    assert rig.names == ("head",)
    assert rig["head"].K.tolist() == [[700, 0, 320.5], [0, 701.5, 240], [0, 0, 1]]
    path.write_text(ROS.format(model="equidistant"))
    with pytest.raises(DataError, match=r"another model.*got equidistant"):
        read_calibration(path)


def spoilt(**changes):
    return {key: value for key, value in {**stereo_entries(toed_in()), **changes}.items() if value is not None}


RIGHT_K = stereo_entries(toed_in())["M2"]
NAN_K = np.where(np.eye(3) > 0, np.nan, RIGHT_K)
FAULTS = {
    "no rotation": (spoilt(R=2 * np.eye(3)), r"not a rotation @ .*, R: expected R R\^T = 1, got off by 3\. Give R"),
    "mirrored": (spoilt(R=np.diag([1.0, 1.0, -1.0])), r"left-handed @ .*, R: .*x right, y down, z forward"),
    "no T": (spoilt(T=None), r"lacks an entry @ .*: expected T, got M1"),
    "no R": (spoilt(R=None), r"lacks an entry @ .*: expected R, got M1"),
    "no lens": (spoilt(D2=None), r"lacks an entry @ .*: expected D2"),
    "no baseline": (spoilt(T=np.zeros((3, 1))), r"same place @ .*, T: expected a baseline above zero"),
    "T of two": (spoilt(T=np.ones((2, 1))), r"wrong shape @ .*, T: expected 3 or 3x1 or 1x3, got 2x1"),
    "T not finite": (spoilt(T=np.full((3, 1), np.inf)), r"not finite @ .*, T"),
    "negative focal length": (spoilt(M2=np.diag([-700.0, 700.0, 1.0])), r"focal length .* @ .*camera LR, intrinsic"),
    "NaN": (spoilt(M2=NAN_K), r"not finite @ .*camera LR, M2"),
    "transposed": (spoilt(M2=RIGHT_K.T), r"upper triangular @ .*camera LR.*Is it transposed\?"),
    "six coefficients": (spoilt(D1=np.zeros((1, 6))), r"number of coefficients @ .*camera LL.*got 6"),
    "another lens": (spoilt(D1=np.array([[-5.0, 0, 0, 0, 0]])), r"lens distortion cannot be undone @ .*camera LL"),
    "nothing of ours": ({"hello": "world"}, "unknown format of calibration"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_impossible_files_are_refused_in_one_line(tmp_path, fault):
    entries, reason = FAULTS[fault]
    path = write_storage(tmp_path / "stereo.yml", entries)
    with pytest.raises(DataError, match=reason) as refusal:
        read_calibration(path, size_wh=SIZE)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_resolution_of_other_pictures_is_noticed(tmp_path):
    path = write_storage(tmp_path / "stereo.yml", stereo_entries(toed_in()))
    with pytest.raises(DataError, match=r"principal point is far outside the frame.*Is the resolution the one"):
        read_calibration(path, size_wh=(240, 180))


@pytest.mark.parametrize("suffix", [".yml", ".xml", ".json"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    path = write_storage(tmp_path / f"stereo{suffix}", stereo_entries(toed_in()))
    text = path.read_text()
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(DataError, match=r"stereo\.\w+.*(cut off|keep them side by side)"):
        read_calibration(path, size_wh=SIZE)


def test_names_are_the_callers(tmp_path):
    path = write_storage(tmp_path / "stereo.yml", stereo_entries(toed_in()))
    assert read_calibration(path, size_wh=SIZE, names=("UL", "UR")).names == ("UL", "UR")
    for names in (("L",), ("L", "L"), ("L", "R", "B")):
        with pytest.raises(DataError, match=r"names do not fit.*expected 2 different names"):
            read_calibration(path, size_wh=SIZE, names=names)
