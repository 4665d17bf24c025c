"""Camera chains of Kalibr become rigs: each link follows the one before."""

import pytest
import torch

from cogkp.data.calibration import FORMATS, open_calibration, read_calibration
from tests.builders.calibrations import assert_refused, chain, kalibr_text, same

LENS = "  distortion_model: radtan\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "camchain.yaml"
    path.write_text(kalibr_text(chain()))
    return path


def test_the_chain_is_followed(path):
    found = open_calibration(path)
    assert found.format == FORMATS[3]
    assert found.rig.names == ("cam0", "cam1", "cam2")
    assert same(found.rig, chain(), tolerance=1e-12)


def test_a_camera_without_a_lens(path):
    text = path.read_text()
    lens = text[text.index("  distortion_coeffs") : text.index(LENS)]
    path.write_text(text.replace(lens, "  distortion_coeffs: []\n", 1).replace("radtan", "none", 1))
    rig = read_calibration(path)
    assert rig["cam0"].distortion.shape == (0,)
    assert torch.equal(rig["cam1"].distortion, chain()["cam1"].distortion)


FAULTS = {
    "equidistant": ("radtan", "equidistant", r"another model @ .*camera cam0: .*got equidistant.*pinhole-radtan"),
    "omni": ("pinhole", "omni", r"another model @ .*camera cam0: expected camera_model pinhole, got omni"),
    "double sphere": ("pinhole", "ds", r"got ds"),
    "eucm": ("pinhole", "eucm", r"got eucm"),
    "no link": ("T_cn_cnm1", "T_cam_imu", r"lacks a field @ .*camera cam1: expected T_cn_cnm1"),
    "gap": ("cam1:", "cam7:", r"chain has a gap @ .*: expected cam1"),
    "no lens": (LENS, "", r"lacks a field @ .*: expected distortion_model"),
    "three coefficients": (
        "distortion_coeffs: [-0.28, ",
        "distortion_coeffs: [",
        r"number of coefficients .*4 for radtan, got 3",
    ),
    "three intrinsics": ("intrinsics: [700.0, ", "intrinsics: [", r"wrong shape @ .*intrinsics: expected 4, got 3"),
    "resolution": ("resolution: [640, 480]", "resolution: 640", r"not a size of images"),
    "not a rotation": ("  - [0.99", "  - [0.79", r"not a rotation @ .*camera cam1, T_cn_cnm1"),
    "last row": ("[0.0, 0.0, 0.0, 1.0]", "[0.0, 0.0, 0.0, 2.0]", r"not a rigid motion"),
    "broken": ("cam1:", "cam1: [", r"not valid YAML.*Is the file cut off\?"),
    "code": ("rostopic: /cam0/image_raw", "rostopic: !!python/object/apply:os.getcwd []", r"not valid YAML"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_impossible_files_are_refused_in_one_line(path, fault):
    assert_refused(path, *FAULTS[fault])
