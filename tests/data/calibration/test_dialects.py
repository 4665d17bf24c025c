"""Files as people and other programs write them: every spelling of one rig is read as that rig."""

import gzip
import json

import cv2
import numpy as np
import pytest
import torch

from cogkp.data.calibration import open_calibration, read_calibration
from cogkp.errors import DataError
from tests.builders.calibrations import (
    camera,
    chain,
    kalibr_text,
    pose_of,
    rectified,
    same,
    stereo_entries,
    toed_in,
    write_storage,
)

SIZES = ([640, 480], [640.0, 480.0], ["640", "480"], [[640], [480]], {"width": 640, "height": 480}, "[640, 480.0]")
NO_SIZES = (
    [640],
    [640, 480, 3],
    [640.5, 480],
    [0, 480],
    [-640, 480],
    [100_000, 480],
    ["a", "b"],
    {},
    None,
    [10**400, 9],
)


def plain(rig):
    """The rig in our own form, as plain values."""
    return {
        name: {
            "extrinsic": each.world_to_camera.tolist(),
            "intrinsic": each.K.tolist(),
            "distortion": each.distortion.tolist(),
            "resolution": list(each.size_wh),
        }
        for name, each in zip(rig.names, rig.cameras, strict=True)
    }


def own(size):
    content = plain(toed_in())
    content["LR"]["resolution"] = size
    return json.dumps(content), "rig.json"


def opencv(size):
    entries = {key: value.tolist() for key, value in stereo_entries(toed_in()).items()}
    return "%YAML:1.0\n" + json.dumps({**entries, "imageSize": size}), "rig.yml"


def ros(size):
    sides = size if isinstance(size, list) and len(size) == 2 else [size, 480]
    each = toed_in()["LL"]
    content = {"image_width": sides[0], "image_height": sides[1], "camera_matrix": {"data": each.K.ravel().tolist()}}
    return json.dumps({**content, "distortion_coefficients": each.distortion.tolist()}), "rig.yaml"


def anipose(size):
    tables = [
        f"[cam_{index}]\nname = '{name}'\nsize = {json.dumps(size) if name == 'LR' else '[640, 480]'}\n"
        f"matrix = {each.K.tolist()}\ndistortions = {each.distortion.tolist()}\n"
        f"rotation = {each.world_to_camera[:3, :3].tolist()}\ntranslation = {each.world_to_camera[:3, 3].tolist()}\n"
        for index, (name, each) in enumerate(zip(toed_in().names, toed_in().cameras, strict=True))
    ]
    return "\n".join(tables).replace("{}", "'none'").replace("null", "''"), "rig.toml"


def kalibr(size):
    return kalibr_text(chain()).replace("resolution: [640, 480]", f"resolution: {json.dumps(size)}", 1), "rig.yaml"


FORMS = {"own": own, "opencv": opencv, "ros": ros, "anipose": anipose, "kalibr": kalibr}


def written(folder, text, name):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES[:4], ids=str)
def test_a_size_may_be_written_in_any_way_that_means_whole_pixels(tmp_path, form, size):
    rig = read_calibration(written(tmp_path, *FORMS[form](size)))
    assert {each.size_wh for each in rig.cameras} == {(640, 480)}
    assert all(type(side) is int for each in rig.cameras for side in each.size_wh)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", NO_SIZES, ids=lambda size: str(size)[:20])
def test_what_is_no_size_is_refused_in_one_line(tmp_path, form, size):
    with pytest.raises(DataError) as refusal:
        read_calibration(written(tmp_path, *FORMS[form](size)))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600


def test_a_size_as_an_object_is_read(tmp_path):
    assert read_calibration(written(tmp_path, *own(SIZES[4])))["LR"].size_wh == (640, 480)


LENSES = {
    "null": (None, []),
    "nothing": ([], []),
    "four": ([-0.1, 0.01, 0.0, 0.002], [-0.1, 0.01, 0.0, 0.002]),
    "row": ([[-0.1, 0.01, 0.0, 0.0, 0.002, 0.0, 0.0, 0.0]], [-0.1, 0.01, 0.0, 0.0, 0.002, 0.0, 0.0, 0.0]),
    "column": ([[-0.1], [0.01], [0.0], [0.0], [0.002]], [-0.1, 0.01, 0.0, 0.0, 0.002]),
    "words": (["-0.1", "1e-2", 0, 0], [-0.1, 0.01, 0.0, 0.0]),
}


@pytest.mark.parametrize("form", ["own", "opencv", "kalibr"])
@pytest.mark.parametrize("name", LENSES)
def test_a_lens_may_be_written_in_any_way(tmp_path, form, name):
    given, wanted = LENSES[name]
    if form == "own":
        content = plain(toed_in())
        content["LL"]["distortion"] = given
        path, first = written(tmp_path, json.dumps(content), "rig.json"), "LL"
    elif form == "opencv":
        entries = {key: value.tolist() for key, value in stereo_entries(toed_in()).items()}
        path = written(tmp_path, json.dumps({**entries, "D1": given, "size": [640, 480]}), "rig.json")
        first = "LL"
    else:
        text = kalibr_text(chain()).replace(str(chain()["cam0"].distortion.tolist()), json.dumps(given), 1)
        path, first = written(tmp_path, text, "rig.yaml"), "cam0"
    assert read_calibration(path)[first].distortion.tolist() == wanted


@pytest.mark.parametrize("count", [1, 2, 3, 6, 13, 15])
def test_other_numbers_of_coefficients_are_refused(tmp_path, count):
    content = plain(toed_in())
    content["LL"]["distortion"] = [0.0] * count
    with pytest.raises(DataError, match=f"number of coefficients .*LL.*got {count}"):
        read_calibration(written(tmp_path, json.dumps(content), "rig.json"))


def test_flat_lists_and_whole_numbers_are_matrices(tmp_path):
    rig = rectified()
    content = plain(rig)
    for name, each in zip(rig.names, rig.cameras, strict=True):
        content[name]["intrinsic"] = [700, 0, 322.5, 0, 707, 241, 0, 0, 1]
        content[name]["extrinsic"] = each.world_to_camera[:3].ravel().tolist()
    assert same(read_calibration(written(tmp_path, json.dumps(content), "rig.json")), rig)


def test_names_may_hold_spaces_and_any_script(tmp_path):
    content = dict(zip(("left camera", "右"), plain(toed_in()).values(), strict=True))
    assert read_calibration(written(tmp_path, json.dumps(content), "rig.json")).names == ("left camera", "右")


def test_a_camera_given_twice_is_refused(tmp_path):
    text = json.dumps(plain(toed_in())).replace('"LR"', '"LL"')
    with pytest.raises(DataError, match=r"given twice.*got LL"):
        read_calibration(written(tmp_path, text, "rig.json"))


@pytest.mark.parametrize(
    "header", ["%YAML 1.2\n---\n", "%YAML:1.0\n---\n", "%YAML:1.0\n", "# by hand\n%YAML 1.1\n---\n"]
)
def test_a_yaml_header_says_nothing_about_the_content(tmp_path, header):
    path = written(tmp_path, header + kalibr_text(chain()), "chain.yaml")
    assert same(read_calibration(path), chain(), tolerance=1e-12)


@pytest.mark.parametrize("key", ["T_cam_imu", "T_imu_cam"])
def test_kalibr_links_go_through_the_inertial_unit(tmp_path, key):
    to_camera = pose_of([0.3, -0.2, 0.1], [0.5, 0.6, -0.7])
    lines = []
    for name, text in zip(chain().names, kalibr_text(chain()).split("\ncam"), strict=True):
        pose = chain()[name].world_to_camera.numpy() @ to_camera
        rows = (pose if key == "T_cam_imu" else np.linalg.inv(pose)).tolist()
        body = "\n".join(line for line in text.split("\n")[1:] if "T_cn" not in line and not line.startswith("  - "))
        lines.append(f"{name}:\n  {key}: {rows}\n{body}")
    path = written(tmp_path, "\n".join(lines), "camchain.yaml")
    assert same(read_calibration(path), chain(), tolerance=1e-12)


def test_caliscope_gathers_its_cameras(tmp_path):
    text = (
        anipose([640, 480])[0].replace("[cam_", "[cameras.").replace("name = 'LL'\n", "").replace("name = 'LR'\n", "")
    )
    unposed = "\n[cameras.2]\ncam_id = 2\nignore = true\nsize = [640, 480]\n"
    rig = read_calibration(written(tmp_path, text + unposed, "camera_array.toml"))
    assert rig.names == ("cam_0", "cam_1")
    assert same(rig, toed_in(), tolerance=1e-12)


def ros_camera(name, matrix, lens, rectified_by, projection):
    return {
        "image_width": 640,
        "image_height": 480,
        "camera_name": name,
        "camera_matrix": {"rows": 3, "cols": 3, "data": matrix.ravel().tolist()},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": len(lens), "data": list(lens)},
        "rectification_matrix": {"rows": 3, "cols": 3, "data": rectified_by.ravel().tolist()},
        "projection_matrix": {"rows": 3, "cols": 4, "data": projection.ravel().tolist()},
    }


def ros_pair(rig, names=("left", "right")):
    """The two files of ROS, rectified by OpenCV as ROS's calibration program does it."""
    pose = rig.cameras[1].world_to_camera.numpy()
    K, lenses = [each.K.numpy() for each in rig.cameras], [each.distortion.numpy() for each in rig.cameras]
    bends = [lens if lens.size else np.zeros(5) for lens in lenses]
    R, T = np.ascontiguousarray(pose[:3, :3]), np.ascontiguousarray(pose[:3, 3:])
    found = cv2.stereoRectify(K[0], bends[0], K[1], bends[1], (640, 480), R, T)
    return [ros_camera(names[i], K[i], lenses[i], found[i], found[i + 2]) for i in (0, 1)]


@pytest.mark.parametrize("rig", [toed_in(), rectified()], ids=["toed in", "rectified"])
def test_the_projection_matrices_of_two_ros_files_join_them(tmp_path, rig):
    paths = [written(tmp_path, json.dumps(content), f"{content['camera_name']}.yaml") for content in ros_pair(rig)]
    found = read_calibration(paths)
    assert found.names == ("left", "right")
    assert same(found, rig, tolerance=1e-9)
    assert same(read_calibration(tmp_path), rig, tolerance=1e-9)
    assert read_calibration(paths, names=("LL", "LR")).names == ("LL", "LR")
    turned = read_calibration(paths[::-1])
    assert turned.names == ("right", "left")
    world = torch.linalg.inv(rig.cameras[1].world_to_camera)
    assert torch.allclose(turned["left"].world_to_camera, world, atol=1e-9)


def test_a_ros_topic_is_read_as_its_file(tmp_path):
    left, right = ros_pair(toed_in())
    for content in (left, right):
        matrices = {key: content[name]["data"] for key, name in TOPIC.items()}
        message = {"header": {"seq": 0, "frame_id": content["camera_name"]}, "height": 480, "width": 640}
        text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in {**message, **matrices}.items())
        text += "\ndistortion_model: plumb_bob\nbinning_x: 0\nroi:\n  x_offset: 0\n---\n"
        written(tmp_path, text * 3, f"{content['camera_name']}.yaml")
        written(tmp_path, text.replace("K:", "k:").replace("D:", "d:"), f"{content['camera_name']}.ros2.txt")
    pair = [tmp_path / "left.yaml", tmp_path / "right.ros2.txt"]
    assert same(read_calibration(pair), toed_in(), tolerance=1e-9)
    assert read_calibration(pair[0]).names == ("left",)


TOPIC = {
    "K": "camera_matrix",
    "D": "distortion_coefficients",
    "R": "rectification_matrix",
    "P": "projection_matrix",
}


@pytest.mark.parametrize("lack", ["baseline", "projection_matrix", "rectification_matrix"])
def test_two_files_that_nothing_joins_are_refused(tmp_path, lack):
    left, right = ros_pair(toed_in())
    if lack == "baseline":
        right["projection_matrix"] = left["projection_matrix"]
    else:
        del right[lack]
    paths = [written(tmp_path, json.dumps(each), f"{each['camera_name']}.yaml") for each in (left, right)]
    with pytest.raises(DataError, match=r"do not say how the cameras stand to each other @ .*right\.yaml") as refusal:
        read_calibration(paths)
    assert "\n" not in str(refusal.value)


def three_cameras():
    """The third stands where the second does."""
    content = plain(toed_in())
    return {**content, "side": content["LR"]}


def test_two_cameras_in_one_place_harm_only_their_own_pair(tmp_path, caplog):
    path = written(tmp_path, json.dumps(three_cameras()), "rig.json")
    assert read_calibration(path).names == ("LL", "LR", "side")
    assert "same place" in caplog.text
    assert "LR and side" in caplog.text
    assert read_calibration(path, cameras=("LL", "side")).names == ("LL", "side")
    with pytest.raises(DataError, match=r"same place.*LR and side.*Check the translations"):
        read_calibration(path, cameras=("LR", "side"))


BROKEN = {
    "intrinsic": [[0, 0, 322.5], [0, 700, 241], [0, 0, 1]],
    "extrinsic": np.zeros((3, 4)).tolist(),
    "resolution": 7,
}


@pytest.mark.parametrize("field", BROKEN)
def test_a_broken_camera_harms_only_those_who_use_it(tmp_path, field):
    content = {**plain(toed_in()), "side": plain(toed_in())["LL"] | {field: BROKEN[field]}}
    path = written(tmp_path, json.dumps(content), "rig.json")
    assert same(read_calibration(path, cameras=("LL", "LR")), toed_in())
    assert list(open_calibration(path).unusable) == ["side"]
    for wanted in (None, ("LL", "side")):
        with pytest.raises(DataError, match="camera side"):
            read_calibration(path, cameras=wanted)


def test_behind_a_missing_link_of_a_chain_no_camera_has_a_place(tmp_path):
    path = written(tmp_path, kalibr_text(chain()).replace("T_cn_cnm1", "T_lost", 1), "chain.yaml")
    assert list(open_calibration(path).unusable) == ["cam1", "cam2"]
    assert read_calibration(path, cameras=("cam0",)).names == ("cam0",)


def test_a_camera_that_is_not_there_is_told_with_the_nearest(tmp_path):
    path = written(tmp_path, *own([640, 480]))
    with pytest.raises(DataError, match=r"no such camera.*one of LL, LR, got LRR\. Did you mean 'LR'"):
        read_calibration(path, cameras=("LL", "LRR"))


LAUGHS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12)
)
HOSTILE = {
    "deep flow.yml": "%YAML:1.0\n" + '{"a":' * 100_000,
    "deep blocks.yaml": "- " * 100_000,
    "deep maps.yaml": "".join(f"{' ' * i}a:\n" for i in range(2_000)),
    "deep.json": '{"a":' * 100_000,
    "lists.json": '{"a": ' + "[" * 100_000,
    "deep.toml": "a = " + "[" * 100_000,
    "dotted.toml": "a." * 20_000 + "a = 1",
    "deep.xml": "<opencv_storage>" + "<a>" * 100_000,
    "laughs.yaml": LAUGHS,
    "itself.yaml": "a: &a [*a]",
    "laughs.xml": '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><opencv_storage><a>&c;</a></opencv_storage>',
    "huge number.json": '{"LL": {"intrinsic": ['
    + "9" * 400
    + '], "extrinsic": [], "distortion": [], "resolution": []}}',
    "endless number.json": '{"LL": {"intrinsic": ' + "9" * 5_000 + "}}",
    "1e308.json": '{"LL": {"intrinsic": [1e308,0,9,0,1e308,9,0,0,1], "extrinsic": [1,0,0,1e308,0,1,0,0,0,0,1,0], '
    '"distortion": [], "resolution": [20, 20]}}',
    "keys.yaml": "? [a, b]\n: 1\n",
    "tag.yaml": "cam0: !!python/object/apply:os.getcwd []",
    "alias.yaml": "cam0: *nobody",
    "nul.json": '{"a": "\0"}',
    "rows.json": '{"camera_matrix": {"rows": 1e30, "cols": -1, "data": [1]}, "image_width": 9, "image_height": 9}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(tmp_path, name):
    path = written(tmp_path, HOSTILE[name], name)
    with pytest.raises(DataError, match=name.split(".")[0]) as refusal:
        read_calibration(path, size_wh=(20, 20))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("size", [(0, 480), (100_000, 100_000), (-1, 5)])
def test_a_size_that_no_frame_has_is_refused(tmp_path, size):
    with pytest.raises(DataError, match="not a size of images @ the size that was given"):
        read_calibration(written(tmp_path, *own([640, 480])), size_wh=size)


def test_lenses_of_one_camera_are_the_same_camera(tmp_path):
    """No lens, written as null, as nothing and as zeros, projects the same."""
    xyz = torch.tensor([[0.2, -0.1, 2.0]], dtype=torch.float64)
    seen = []
    for number, lens in enumerate((None, [], [0.0] * 5)):
        content = {"B": plain(rectified())["LL"] | {"distortion": lens}}
        seen.append(read_calibration(written(tmp_path, json.dumps(content), f"{number}.json"))["B"].project(xyz).uv)
    expected = camera(np.eye(4), distortion=[]).project(xyz).uv
    assert all(torch.equal(uv, expected) for uv in seen)


def base64_storage(folder, suffix):
    path = folder / f"rig.{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE_BASE64)
    for name, value in stereo_entries(toed_in()).items():
        storage.write(name, np.ascontiguousarray(value))
    storage.write("imageSize", np.array([640.0, 480.0]))
    storage.release()
    return path


@pytest.mark.parametrize("suffix", ["yml", "xml", "json"])
def test_opencv_may_write_numbers_in_base64(tmp_path, suffix):
    assert same(read_calibration(base64_storage(tmp_path, suffix)), toed_in())


@pytest.mark.parametrize("suffix", ["yml.gz", "xml.gz"])
def test_opencv_may_pack_its_file(tmp_path, suffix):
    path = write_storage(tmp_path / f"rig.{suffix}", {**stereo_entries(toed_in()), "imageSize": np.array([640.0, 480])})
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert same(read_calibration(path), toed_in())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"rig\..*gz: .*got a damaged \.gz file"):
        read_calibration(path)
    path.write_bytes(gzip.compress(b" " * 100_000_000))
    with pytest.raises(DataError, match="unknown format"):
        read_calibration(path)


def test_the_rotation_between_two_cameras_may_be_a_vector(tmp_path):
    entries = {key: value.tolist() for key, value in stereo_entries(toed_in()).items()}
    entries["R"] = cv2.Rodrigues(np.array(entries["R"]))[0].tolist()
    path = written(tmp_path, json.dumps({**entries, "width": 640, "height": "480.0"}), "rig.json")
    assert same(read_calibration(path), toed_in(), tolerance=1e-12)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "latin-1"])
def test_a_calibration_may_be_in_any_common_encoding(tmp_path, encoding):
    (tmp_path / "chain.yaml").write_bytes(f"# Winkel in \N{DEGREE SIGN}\n{kalibr_text(chain())}".encode(encoding))
    assert same(read_calibration(tmp_path / "chain.yaml"), chain(), tolerance=1e-12)


def test_a_comment_may_stand_before_opencvs_header(tmp_path):
    path = written(tmp_path, f"# mine\n\n# yours\n%YAML:1.0\n---\n{kalibr_text(chain())}", "chain.yaml")
    assert same(read_calibration(path), chain(), tolerance=1e-12)


@pytest.mark.parametrize("lens", ["Plumb Bob", "PLUMB_BOB", "radial-tangential", "plumb_bob"])
def test_models_are_known_by_all_their_names(tmp_path, lens):
    text = kalibr_text(chain()).replace("radtan", lens).replace("pinhole", "Pinhole")
    assert same(read_calibration(written(tmp_path, text, "chain.yaml")), chain(), tolerance=1e-12)
    pair = [{**each, "distortion_model": lens} for each in ros_pair(toed_in())]
    paths = [written(tmp_path, json.dumps(each), f"{each['camera_name']}.yaml") for each in pair]
    assert same(read_calibration(paths), toed_in(), tolerance=1e-9)


def test_numbers_are_names_of_cameras(tmp_path):
    pair = ros_pair(toed_in(), (0, 1))
    paths = [written(tmp_path, json.dumps(each), f"{each['camera_name']}.yaml") for each in pair]
    assert read_calibration(paths).names == ("0", "1")


OST = (
    "# oST version 5.0 parameters\n\n[image]\n\nwidth\n640\n\nheight\n480\n\n[narrow_stereo]\n\ncamera matrix\n1 0 0\n"
)


@pytest.mark.parametrize("name", ["ost.txt", "ost.ini"])
def test_a_file_is_not_blamed_for_a_language_that_it_is_not_in(tmp_path, name):
    with pytest.raises(DataError, match="unknown format of calibration") as refusal:
        read_calibration(written(tmp_path, OST, name))
    assert "cut off" not in str(refusal.value)


def test_an_empty_file_is_called_empty(tmp_path):
    with pytest.raises(DataError, match="got an empty file"):
        read_calibration(written(tmp_path, "\n", "rig.yaml"))


@pytest.mark.parametrize(("form", "told"), [(own, "our JSON"), (kalibr, "Kalibr")])
def test_two_files_of_a_form_that_holds_all_cameras_are_not_joined(tmp_path, form, told):
    text, name = form([640, 480])
    paths = [written(tmp_path, text, f"{index}{name}") for index in (0, 1)]
    with pytest.raises(DataError, match=rf"cannot join these files @ .*0rig.* and .*1rig.*got {told}"):
        read_calibration(paths)


@pytest.mark.parametrize("value", [None, "1.0", 3, [9, 7], True])
def test_what_else_stands_beside_cameras_is_left_alone(tmp_path, value):
    content = plain(toed_in()) | {"extra": value}
    rig = read_calibration(written(tmp_path, json.dumps(content), "rig.json"))
    assert rig.names == ("LL", "LR")


def test_a_gap_in_a_chain_harms_only_those_behind_it(tmp_path):
    path = written(tmp_path, kalibr_text(chain()).replace("cam1:", "cam7:"), "chain.yaml")
    found = open_calibration(path)
    assert list(found.cameras) == ["cam0", "cam2", "cam7"]
    assert "the chain has a gap" in str(found.unusable["cam2"])
    assert same(read_calibration(path, cameras=("cam0",)), chain().select(("cam0",)))


def test_too_many_cameras_are_told_with_their_file(tmp_path):
    content = {f"c{index}": plain(toed_in())["LL"] for index in range(251)}
    with pytest.raises(DataError, match=r"too many cameras @ .*rig\.json"):
        read_calibration(written(tmp_path, json.dumps(content), "rig.json"))
