"""The rendered set is read back as it was made, exact to rounding, in any camera axes."""

import numpy as np
import pytest

from cogkp.data.boxes.check import check_root
from cogkp.data.boxes.labels import labels_of
from cogkp.data.boxes.reader import read_objectron
from cogkp.data.boxes.scene.render import BoxScene, render_box_image
from cogkp.data.boxes.synthetic import render_boxes
from cogkp.data.images import read_colour
from cogkp.errors import DataError, OutputError
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.pnp import solve_cuboids


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return render_boxes(tmp_path_factory.mktemp("boxes") / "set", images=12, seed=5, most_boxes=3, size_wh=(160, 120))


def test_truth_is_exact(root):
    report = check_root(root)
    assert report.problems == ()
    boxes = [box for file in report.checked for box in file.boxes]
    assert max(box.reprojection_px for box in boxes) < 1e-6
    assert max(box.pnp_px for box in boxes) < 1e-6
    assert report.files == 12


def test_pixels_give_back_the_pose(root):
    for record in read_objectron(root).records:
        labels = labels_of(record)
        found = solve_cuboids(labels.uv_source[0, :, 1:], labels.size_xyz, labels.K)
        assert found.valid.all()
        np.testing.assert_allclose(found.cuboids.cuboid_to_camera, labels.cuboid_to_camera, atol=1e-6)


def test_files_hold_what_was_rendered(root):
    scene = BoxScene(size_wh=(160, 120), most_boxes=3)
    for index, record in enumerate(read_objectron(root).records):
        made = render_box_image(5, index, scene)
        np.testing.assert_allclose(record.K, made.world.K, atol=1e-9)
        for box, placed, seen in zip(record.boxes, made.world.boxes, made.visibility, strict=True):
            np.testing.assert_allclose(box.cuboid_to_camera, placed.pose, atol=1e-9)
            np.testing.assert_allclose(box.size_xyz, placed.size_xyz, atol=1e-12)
            assert box.visibility == seen
        offset = (made.world.boxes[0].foot - record.ground.center) @ record.ground.normal
        assert abs(offset) < 1e-9
        difference = np.abs(read_colour(record.image) * 255 - made.image)
        assert difference.mean() < 6  # JPEG


@pytest.mark.parametrize("frame", list(CameraFrame))
def test_axes_do_not_change_the_truth(tmp_path, frame):
    options = {"images": 2, "seed": 1, "size_wh": (64, 48)}
    first = read_objectron(render_boxes(tmp_path / "first", **options))
    again = read_objectron(render_boxes(tmp_path / "again", **options, camera_frame=frame))
    for one, other in zip(first.records, again.records, strict=True):
        np.testing.assert_allclose(one.boxes[0].xyz_camera, other.boxes[0].xyz_camera, atol=1e-12)
        assert other.camera_frame is frame


@pytest.mark.parametrize(("shape", "symmetric"), [("carton", 1), ("crate", 4), ("can", 12), ("book", 2)])
def test_symmetry_is_written_per_object(tmp_path, shape, symmetric):
    options = {"images": 2, "seed": 0, "shape": shape, "symmetric": symmetric, "size_wh": (64, 48)}
    index = read_objectron(render_boxes(tmp_path / "a", **options))
    labels = labels_of(index.records[0])
    assert labels.uv_source.shape[0] == symmetric
    assert labels.hypotheses.all()
    assert labels.categories == (shape,)
    if symmetric >= 4:
        np.testing.assert_allclose(labels.size_xyz[:, 0], labels.size_xyz[:, 2])


def test_a_full_folder_is_left_alone(root):
    with pytest.raises(OutputError, match="not empty"):
        render_boxes(root, images=1, seed=0)


def test_a_refused_rendering_leaves_nothing(tmp_path):
    with pytest.raises(DataError):
        render_boxes(tmp_path / "a", images=1, seed=0, shape="pyramid")
    with pytest.raises(DataError, match="nothing to render"):
        render_boxes(tmp_path / "a", images=0, seed=0)
    assert list(tmp_path.iterdir()) == []
