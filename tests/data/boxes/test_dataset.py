"""Pixels and labels move together; what is drawn depends on the key alone."""

import math
import os
from typing import NamedTuple

import attrs
import cv2
import numpy as np
import pytest
import torch

from cogkp.data.boxes.augment import BoxAugment, change_colours, point_order, sample_warp
from cogkp.data.boxes.dataset import ObjectDataset
from cogkp.data.boxes.labels import labels_of
from cogkp.data.boxes.reader import read_objectron
from cogkp.data.boxes.view import BoxInput
from cogkp.data.dataset import ItemKey, changes
from cogkp.data.images import read_colour
from cogkp.data.loader import build_loader
from cogkp.errors import DataError
from cogkp.geometry.cuboid import UNIT_POINTS
from tests.builders.box_files import SIZE_WH, K, annotation, box, spoilt, write, write_set
from tests.builders.warps import letterbox

SIDE = 64


class Targets(NamedTuple):
    uv: np.ndarray


def encode(sample):
    uv = torch.from_numpy(sample.labels.uv_source)
    return Targets(sample.source_to_crop.apply(uv.reshape(-1, 2)).reshape(uv.shape).numpy())


def opened(root, split="train", **options):
    return ObjectDataset([root], split, encode, view=BoxInput(side=SIDE), **options)


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path / "train", 3)


def test_plain_samples_are_the_whole_picture_letterboxed(root):
    dataset = opened(root, "validation")
    ((sample, targets),) = dataset[1]
    assert torch.equal(sample.source_to_crop.matrix, letterbox(SIZE_WH, SIDE).matrix)
    scale = SIDE / max(SIZE_WH)
    middle = 0.5 * np.array(SIZE_WH)
    np.testing.assert_allclose(targets.uv[0, 0], scale * (box(1).uv_source - middle) + SIDE / 2, atol=1e-9)
    assert (sample.source_size_wh, sample.sample_id) == (SIZE_WH, "train:0001")
    assert (len(dataset), dataset.items_per_epoch, dataset.symmetries) == (3, 3, 1)


def test_colours_reach_the_network_in_its_order_and_scale(root):
    dataset = opened(root, "validation")
    ((sample, _),) = dataset[0]
    view = dataset.view
    rgb = view.cut(read_colour(root / "0000.png"), sample.source_to_crop.matrix.numpy())
    expected = (rgb[..., 2] - view.mean[0]) / view.std[0]  # first channel of the network: blue
    np.testing.assert_allclose(sample.image[0], expected, atol=1e-6)
    np.testing.assert_allclose(view.to_rgb(sample.image), rgb, atol=1e-6)
    assert sample.image.shape == (3, SIDE, SIDE)
    assert sample.image.dtype == np.float32


def test_the_key_alone_decides(root):
    first, second = opened(root), opened(root)
    assert np.array_equal(first[ItemKey(1, 2, 0)][0].sample.image, second[ItemKey(1, 2, 0)][0].sample.image)
    for other in (ItemKey(2, 2, 0), ItemKey(1, 3, 0), ItemKey(1, 2, 0, seed=9)):
        assert not np.array_equal(first[ItemKey(1, 2, 0)][0].sample.image, first[other][0].sample.image)


@pytest.mark.parametrize("random_crop", [True, False])
def test_pixels_move_where_points_move(root, random_crop):
    """A dot painted on a labelled point is found where the moved label is, in mirrored and turned samples too."""
    options = BoxAugment(random_crop=random_crop, rotate_probability=0.5, rotate_deg=40.0, flip_probability=0.5)
    view = BoxInput(side=256)
    mirrored = 0
    for seed in range(12):
        warp = sample_warp(SIZE_WH, view.side, options, np.random.default_rng(seed))
        point = np.array([55.0, 30.0])
        v, u = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
        dot = np.exp(-((u - point[0]) ** 2 + (v - point[1]) ** 2) / 18).astype(np.float32)
        seen = view.cut(np.repeat(dot[..., None], 3, -1), warp.matrix.numpy())[..., 0].astype(np.float64)
        expected = warp.apply(torch.from_numpy(point)).numpy()
        if not ((expected > 40) & (expected < view.side - 40)).all():
            continue
        mirrored += bool(warp.mirrored)
        v, u = np.mgrid[: view.side, : view.side]
        found = np.array([(seen * u).sum(), (seen * v).sum()]) / seen.sum()
        assert np.abs(found - expected).max() < 0.6, seed  # cut tails of the dot pull its middle a little
    assert mirrored


def middles_of(maps):
    middle = torch.tensor([256.0, 256.0], dtype=torch.float64)
    return np.array([warp.inverse().apply(middle).numpy() for warp in maps])


def test_random_squares_are_those_of_the_published_training():
    generator = np.random.default_rng(0)
    options = BoxAugment(flip_probability=0.0)
    maps = [sample_warp((600, 800), 512, options, generator) for _ in range(400)]
    scales = [float(warp.matrix[0, 0]) for warp in maps]
    assert set(np.round(512 / 800 / np.array(scales), 6)) == {0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3}
    middles = np.array(
        [warp.inverse().apply(torch.tensor([256.0, 256.0], dtype=torch.float64)).numpy() for warp in maps]
    )
    assert np.allclose(middles, middles.round(), atol=1e-6)
    assert (middles.min(0).round() >= (128, 128)).all()
    assert (middles.max(0).round() < (472, 672)).all()
    assert (np.ptp(middles, axis=0) > 300).all()


def test_gentle_squares_stay_near_the_middle():
    generator = np.random.default_rng(0)
    options = BoxAugment(random_crop=False, scale=0.2, shift=0.05, flip_probability=0.0)
    maps = [sample_warp((600, 800), 512, options, generator) for _ in range(300)]
    scales = 512 / 800 / np.array([float(warp.matrix[0, 0]) for warp in maps])
    assert 0.8 - 1e-9 <= scales.min() < 0.85
    assert 1.15 < scales.max() <= 1.2 + 1e-9
    middles = np.array(
        [warp.inverse().apply(torch.tensor([256.0, 256.0], dtype=torch.float64)).numpy() for warp in maps]
    )
    assert np.abs(middles - (300, 400)).max() <= 2 * 0.05 * 800 + 1e-9


def test_a_mirrored_box_is_a_box_again():
    """Swapped numbers make the mirrored pixels those of a right-handed box under the mirrored camera."""
    labels = box(0)
    options = BoxAugment(flip_probability=1.0)
    warp = sample_warp(SIZE_WH, SIDE, options, np.random.default_rng(0))
    order = point_order(warp, options)
    mirror = np.diag([-1.0, 1.0, 1.0])
    pose = labels.cuboid_to_camera
    rotation, place = mirror @ pose[:3, :3] @ mirror, mirror @ pose[:3, 3]
    assert np.linalg.det(rotation) > 0
    K_mirrored = K.copy()
    K_mirrored[0, 2] = SIZE_WH[0] - 1 - K[0, 2]
    points = labels.size_xyz * np.array(UNIT_POINTS) @ rotation.T + place
    made = points @ K_mirrored[:2].T / points[:, 2:]
    seen = labels.uv_source[order].copy()
    seen[:, 0] = SIZE_WH[0] - 1 - seen[:, 0]
    np.testing.assert_allclose(seen, made, atol=1e-9)
    plain = sample_warp(SIZE_WH, SIDE, attrs.evolve(options, flip_probability=0.0), np.random.default_rng(0))
    assert point_order(plain, options).tolist() == list(range(9))


@pytest.mark.parametrize("turns", [1, 2, 4, 12])
def test_turned_labels_are_the_turned_box(tmp_path, turns):
    record = read_objectron(write_set(tmp_path, 1)).records[0]
    labels = labels_of(record, turns)
    assert labels.uv_source.shape == (turns, 1, 9, 2)
    assert labels.hypotheses.all()
    (box,) = record.boxes
    for index in range(turns):
        turn = cv2.Rodrigues(np.array([0.0, 2 * math.pi * index / turns, 0.0]))[0]
        rotation = box.cuboid_to_camera[:3, :3] @ turn
        points = box.size_xyz * np.array(UNIT_POINTS) @ rotation.T + box.cuboid_to_camera[:3, 3]
        np.testing.assert_allclose(labels.uv_source[index, 0], points @ K[:2].T / points[:, 2:], atol=1e-6)


def test_half_a_turn_only_renumbers_the_corners(tmp_path):
    labels = labels_of(read_objectron(write_set(tmp_path, 1)).records[0], 2)
    np.testing.assert_allclose(labels.uv_source[1, 0], labels.uv_source[0, 0][[0, 6, 5, 8, 7, 2, 1, 4, 3]], atol=1e-9)


def test_symmetry_is_per_object_and_rows_that_do_not_count_are_empty(tmp_path):
    content = annotation(boxes=[box(0), box(1)])
    write(tmp_path, "a", spoilt(content, "objects.1.symmetric", False))
    dataset = opened(tmp_path, "validation", num_symmetry=4)
    labels = dataset[0][0].sample.labels
    assert dataset.symmetries == 4
    assert labels.hypotheses.sum(0).tolist() == [4, 1]
    assert not labels.uv_source[1:, 1].any()


def test_symmetric_objects_need_a_place_in_space(tmp_path):
    content = annotation()
    content["objects"] = [{"projected_cuboid": content["objects"][0]["projected_cuboid"]}]
    write(tmp_path, "a", content)
    with pytest.raises(DataError, match=r"a symmetric object cannot be turned @ .*a\.json objects\[0\]"):
        opened(tmp_path, "validation", num_symmetry=4, need=())
    labels = opened(tmp_path, "validation", need=())[0][0].sample.labels
    assert (labels.located.tolist(), labels.sized.tolist()) == ([False], [False])


def test_pictures_without_objects_have_labels_without_rows(tmp_path):
    write(tmp_path, "a", spoilt(annotation(), "objects", []))
    labels = opened(tmp_path)[0][0].sample.labels
    assert labels.uv_source.shape == (1, 0, 9, 2)
    assert labels.xyz_camera.shape == (0, 9, 3)


def test_colour_changes_are_drawn_within_their_limits():
    grey = np.full((8, 8, 3), 0.5, np.float32)
    options = BoxAugment(contrast=0.0, saturation=0.0, lighting=0.0)
    values = [change_colours(grey, options, np.random.default_rng(seed))[0, 0, 0] for seed in range(200)]
    assert 0.3 <= min(values) < 0.32
    assert 0.68 < max(values) <= 0.7
    neutral = BoxAugment(brightness=0.0, lighting=0.0)
    np.testing.assert_allclose(change_colours(grey, neutral, np.random.default_rng(0)), grey, atol=1e-6)
    off = BoxAugment(colour=False)
    assert change_colours(grey, off, np.random.default_rng(0)) is grey


def test_saturation_keeps_grey_levels_and_light_follows_the_principal_colours():
    image = np.random.default_rng(0).random((8, 8, 3), dtype=np.float32)
    only = BoxAugment(brightness=0.0, contrast=0.0, lighting=0.0)
    changed = change_colours(image, only, np.random.default_rng(3))
    to_grey = lambda image: cv2.cvtColor(np.ascontiguousarray(image, np.float32), cv2.COLOR_RGB2GRAY)  # noqa: E731
    np.testing.assert_allclose(to_grey(changed), to_grey(image), atol=1e-5)
    light = BoxAugment(brightness=0.0, contrast=0.0, saturation=0.0)
    shifts = np.array([(change_colours(image, light, np.random.default_rng(s)) - image)[0, 0] for s in range(2000)])
    vectors, values = np.array(light.eigenvectors), np.array(light.eigenvalues)
    covariance = vectors @ np.diag((0.1 * values) ** 2) @ vectors.T
    np.testing.assert_allclose(np.cov(shifts[:, ::-1].T), covariance, atol=0.1 * covariance.max())


def test_batches_come_from_the_common_loader(root):
    loader = build_loader(opened(root), batch_size=2, shuffle=True, seed=1)
    batches = list(loader)
    assert [len(batch.ids) for batch in batches] == [2, 1]
    assert batches[0].image.shape == (2, 3, SIDE, SIDE)
    assert batches[0].targets.uv.shape == (2, 1, 1, 9, 2)
    assert sorted(name for batch in batches for name in batch.ids) == ["train:0000", "train:0001", "train:0002"]


def test_yesterday_is_told_from_today(root):
    before = opened(root).fingerprint
    assert changes({"train": before}, {"train": opened(root).fingerprint}) == []
    write(root, "0001", annotation(0))
    assert changes({"train": before}, {"train": opened(root).fingerprint}) == ["train data 'train': other labels"]
    write(root, "0003", annotation(1))
    (line,) = changes({"train": before}, {"train": opened(root).fingerprint})
    assert "lines 3 -> 4" in line


def test_the_size_report_counts(root):
    report = opened(root).size_report
    assert (report.records, report.labelled) == (3, {"crate": 3})
    assert str(report) == "3 images; boxes: crate 3"


def test_no_folder_is_an_error():
    with pytest.raises(DataError, match="no data set is configured"):
        ObjectDataset([], "train", encode)


def test_file_names_and_classes_of_any_bytes_have_a_fingerprint(tmp_path):
    root = tmp_path / "train"
    write(root, os.fsdecode(b"\xff\x80"), annotation(boxes=[attrs.evolve(box(), category="a\ud800")]))
    before = opened(root, category="a\ud800").fingerprint
    assert changes({"train": before}, {"train": opened(root, category="a\ud800").fingerprint}) == []
    for path in root.iterdir():
        path.rename(path.with_name(f"b{path.suffix}"))
    (line,) = changes({"train": before}, {"train": opened(root, category="a\ud800").fingerprint})
    assert line == "train data 'train': other file names or sizes"
