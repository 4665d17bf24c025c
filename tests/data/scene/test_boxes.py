"""Rendered boxes are where their truth says, hide each other in the right order, and look alike after their turns."""

import cv2
import numpy as np
import pytest

from cogkp.data.boxes.scene.bodies import (
    TEXELS,
    coverage,
    cylinder_textures,
    face_textures,
    paint_body,
    silhouette,
    upright_body,
)
from cogkp.data.boxes.scene.render import SHAPES, BoxScene, render_box_image, sample_world
from cogkp.errors import DataError
from cogkp.geometry.cuboid import FACES, UNIT_POINTS
from tests.builders.box_files import standing

K = np.array([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]])
LIGHT = np.array([0.0, -1.0, 0.0])
SIZE_WH = (320, 240)


def painted(pose, size, turns, seed=0, light=LIGHT):
    canvas = np.zeros((*SIZE_WH[::-1], 3), np.float32)
    mask = paint_body(canvas, upright_body(np.random.default_rng(seed), np.array(size), turns), pose, K, light)
    return canvas, mask


def turned(pose, angle_rad):
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(np.array([0.0, angle_rad, 0.0]))[0]
    return pose @ matrix


def corners(pose, size):
    points = np.array(UNIT_POINTS)[1:] * size @ pose[:3, :3].T + pose[:3, 3]
    return points @ K[:2].T / points[:, 2:]


def test_faces_stand_where_the_numbering_of_the_field_has_them():
    """The first face of a body is the field's first face, and so on; their normals point out of the body."""
    body = upright_body(np.random.default_rng(0), np.array([1.0, 2.0, 3.0]), 1)
    points = np.array(UNIT_POINTS) * (1.0, 2.0, 3.0)
    for face, numbers in zip(body.faces, FACES, strict=True):
        expected = points[list(numbers)]
        assert {tuple(row) for row in face.outline.tolist()} == {tuple(row) for row in expected.tolist()}
        assert face.normal @ expected.mean(0) > 0


def test_an_outline_is_covered_to_a_fraction_of_a_pixel():
    pose, size = standing(), np.array([0.5, 0.8, 0.3])
    _, mask = painted(pose, size, 1)
    hull = cv2.convexHull(corners(pose, size).astype(np.float32))
    assert abs(mask.sum() / cv2.contourArea(hull) - 1) < 1e-3
    v, u = np.nonzero(mask > 0.5)
    assert abs(u.min() - hull[:, 0, 0].min()) < 1
    assert abs(v.max() - hull[:, 0, 1].max()) < 1


def test_the_print_on_a_face_is_where_the_pose_puts_it():
    """A face painted with one dot shows it where a camera sees that point of the face."""
    pose, size = standing(0.5), np.array([0.5, 0.8, 0.3])
    body = upright_body(np.random.default_rng(0), size, 1)
    front = body.faces[4]
    front.texture[:] = 0.0
    texel = 30, 62
    front.texture[texel[1] - 2 : texel[1] + 3, texel[0] - 2 : texel[0] + 3] = 1.0
    for face in body.faces[:4]:
        face.texture[:] = 0.0
    canvas = np.zeros((*SIZE_WH[::-1], 3), np.float32)
    paint_body(canvas, body, pose, K, LIGHT)
    light = canvas.sum(-1).astype(np.float64)
    v, u = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
    found = np.array([(light * u).sum(), (light * v).sum()]) / light.sum()
    share = (np.array(texel) + 0.5) / TEXELS
    place = np.array([(share[0] - 0.5) * size[0], (0.5 - share[1]) * size[1], 0.5 * size[2]])
    seen = K @ (pose[:3, :3] @ place + pose[:3, 3])
    assert np.abs(found - seen[:2] / seen[2]).max() < 0.35


@pytest.mark.parametrize(("turns", "depth"), [(2, 0.3), (4, 0.4), (12, 0.4), (24, 0.4)])
def test_a_symmetric_body_looks_alike_after_each_turn_and_not_in_between(turns, depth):
    pose, size = standing(0.3), (0.4, 0.6, depth)
    first, _ = painted(pose, size, turns)
    for index in range(1, turns):
        again, _ = painted(turned(pose, 2 * np.pi * index / turns), size, turns)
        assert different(again, first) < 0.01
    if turns <= 4:
        between, _ = painted(turned(pose, np.pi / turns), size, turns)
        assert different(between, first) > 0.05


def different(one, other):
    """Share of the painted pixels whose neighbourhoods differ by more than a tenth.

    Texels and pixels do not fall on each other, so single pixels of an edge differ without meaning anything.
    """
    apart = np.abs(cv2.blur(one, (3, 3)) - cv2.blur(other, (3, 3))).max(-1)
    return (apart > 0.1).sum() / (one.max(-1) > 0).sum()


def test_a_box_without_symmetry_shows_where_it_faces():
    first, _ = painted(standing(0.3), (0.4, 0.6, 0.4), 1)
    for quarter in (1, 2, 3):
        again, _ = painted(turned(standing(0.3), quarter * np.pi / 2), (0.4, 0.6, 0.4), 1)
        assert different(again, first) > 0.05


def test_textures_of_all_sides_differ():
    faces = face_textures(np.random.default_rng(0), 1)
    assert all(face.shape == (TEXELS, TEXELS, 3) for face in faces)
    assert min(np.abs(faces[a] - faces[b]).max() for a in range(6) for b in range(a)) > 0.1
    wall, lid = cylinder_textures(np.random.default_rng(0))
    assert (wall.shape, lid.shape) == ((TEXELS, 1, 3), (TEXELS, TEXELS, 3))


def test_nearer_boxes_are_painted_later():
    """Where two outlines meet, a ray through the image meets the box that was painted last first."""
    crossings = 0
    for seed in range(40):
        world = sample_world(np.random.default_rng(seed), SIZE_WH, shape="carton", count=4, turns=1)
        order = world.far_first
        masks = []
        for place in order:
            body = upright_body(np.random.default_rng(0), world.boxes[place].size_xyz, 1)
            masks.append(coverage(silhouette(body, world.boxes[place].pose, world.K), SIZE_WH[::-1]) > 0.999)
        for later in range(len(order)):
            for earlier in range(later):
                both = np.argwhere(masks[later] & masks[earlier])
                if not len(both):
                    continue
                crossings += 1
                v, u = both[len(both) // 2]
                ray = np.linalg.solve(world.K, [u, v, 1.0])
                depths = [meets(world.boxes[order[place]], ray) for place in (later, earlier)]
                assert depths[0] < depths[1]
    assert crossings > 10


def meets(box, ray):
    """How far along a ray from the camera a box begins."""
    rotation = box.pose[:3, :3]
    start, along = -rotation.T @ box.pose[:3, 3], rotation.T @ ray
    ends = np.sort(np.stack([(side * 0.5 * box.size_xyz - start) / along for side in (-1, 1)]), axis=0)
    assert ends[0].max() <= ends[1].min() + 1e-9, "the ray misses the box"
    return ends[0].max()


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_stand_apart_on_one_ground(shape):
    for seed in range(10):
        world = sample_world(np.random.default_rng([seed, 1]), SIZE_WH, shape=shape, count=4, turns=1)
        for box in world.boxes:
            np.testing.assert_allclose(box.pose[:3, 1], world.up, atol=1e-12)
            assert abs((box.foot - world.boxes[0].foot) @ world.up) < 1e-9
            assert np.linalg.det(box.pose[:3, :3]) == pytest.approx(1.0)
        first = world.boxes[0]
        points = first.size_xyz * np.array(UNIT_POINTS) @ first.pose[:3, :3].T + first.pose[:3, 3]
        uv = points @ world.K[:2].T / points[:, 2:]
        assert ((uv >= 0) & (uv <= np.subtract(SIZE_WH, 1))).all()
        assert world.up[1] < 0


def test_a_picture_is_a_function_of_seed_and_index():
    scene = BoxScene(size_wh=(80, 60), most_boxes=2)
    first = render_box_image(3, 7, scene)
    assert np.array_equal(first.image, render_box_image(3, 7, scene).image)
    assert not np.array_equal(first.image, render_box_image(3, 8, scene).image)
    assert not np.array_equal(first.image, render_box_image(4, 7, scene).image)
    assert first.image.shape == (60, 80, 3)


def test_visibility_is_one_in_full_sight_and_less_where_hidden():
    seen = [render_box_image(1, index, BoxScene(size_wh=(160, 120), most_boxes=4)).visibility for index in range(25)]
    alone = [each[0] for each in seen if len(each) == 1]
    assert min(alone) > 0.97
    crowded = [value for each in seen if len(each) > 1 for value in each]
    assert min(crowded) < 0.6
    assert all(0 <= value <= 1 for value in crowded)


@pytest.mark.parametrize("facts", [{"turns": 3}, {"turns": 0}, {"most_boxes": 0}])
def test_what_cannot_be_rendered_is_refused(facts):
    with pytest.raises(DataError, match="such boxes cannot be rendered"):
        BoxScene(**facts)
    with pytest.raises(DataError, match="unknown shape"):
        render_box_image(0, 0, BoxScene(shape="pyramid"))
