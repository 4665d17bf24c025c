"""Samples: labels and pixels move by the same map, keys decide all chance, and splits do what their names say."""

import numpy as np
import pytest
import torch

from cogkp.config.augment import Crop, Flip, Intensity, default_stages
from cogkp.config.keypoint.spec import KeypointConfig, Sampling, StereoPairing, Targets, Validation
from cogkp.data.dataset import ItemKey
from cogkp.data.images import MISSING_MASK_IGNORE_INDEX
from cogkp.data.keypoint.dataset import AugmentedKeypointDataset
from cogkp.errors import DataError, ImageError
from cogkp.tasks.keypoint.task import KeypointTask
from tests.builders.discs import SIZE_WH, disc_config, disc_root, encode


def opened(settings, split="train"):
    return AugmentedKeypointDataset(settings, split, encode)


def same(first, second):
    return all(
        np.array_equal(a.sample.image, b.sample.image)
        and np.array_equal(a.targets.uv_crop, b.targets.uv_crop)
        and torch.equal(a.sample.source_to_crop.matrix, b.sample.source_to_crop.matrix)
        for a, b in zip(first, second, strict=True)
    )


def centroid(weights):
    v, u = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(weights * u).sum(), (weights * v).sum()]) / weights.sum()


def test_the_config_class_is_part_of_the_data_set():
    assert AugmentedKeypointDataset.Config is KeypointConfig


def test_without_an_encoder_the_targets_are_those_of_training(tmp_path):
    settings = disc_config(disc_root(tmp_path / "a"))
    task = KeypointTask(settings)
    for ours, trained in zip(AugmentedKeypointDataset(settings), task.datasets("train"), strict=True):
        for one, other in zip(ours, trained, strict=True):
            assert np.array_equal(one.sample.image, other.sample.image)
            assert all(np.array_equal(a, b) for a, b in zip(one.targets, other.targets, strict=True))
            assert one.targets.uv_crop.shape == (settings.num_keypoints, 2)


def test_pixels_masks_and_points_move_by_the_same_map(tmp_path):
    plain = (Crop(output_size=96), *(s for s in default_stages() if type(s).__name__ == "Affine"))
    dataset = opened(disc_config(disc_root(tmp_path / "a"), augmentations=plain))
    for epoch in range(4):
        for position in range(len(dataset)):
            ((sample, targets),) = dataset[epoch, position, position]
            np.testing.assert_allclose(centroid(sample.image[0].astype(np.float64)), targets.uv_crop[0], atol=0.1)
            np.testing.assert_allclose(centroid(sample.labels.mask_crop == 1), targets.uv_crop[0], atol=0.3)


def test_a_sample_is_what_it_promises(tmp_path):
    dataset = opened(disc_config(disc_root(tmp_path / "a")))
    ((sample, targets),) = dataset[0]
    assert (sample.image.shape, sample.image.dtype) == ((1, 96, 96), np.float32)
    assert 0.0 <= sample.image.min() <= sample.image.max() <= 1.0
    assert (sample.labels.mask_crop.shape, sample.labels.mask_crop.dtype) == ((96, 96), np.uint8)
    assert set(np.unique(sample.labels.mask_crop)) <= {0, 1, MISSING_MASK_IGNORE_INDEX}
    assert sample.labels.labelled.tolist() == targets.labelled.tolist() == [True, False]
    assert sample.source_size_wh == SIZE_WH
    assert sample.sample_id == "a:1 LL"


def test_without_pairing_each_image_is_an_item_and_with_it_each_line(tmp_path):
    root = disc_root(tmp_path / "a")
    single, paired = opened(disc_config(root)), opened(disc_config(root, stereo_pairing=StereoPairing(enabled=True)))
    assert (len(single), single.views_per_item) == (10, 1)
    assert (len(paired), paired.views_per_item) == (5, 2)
    left, right = paired[0, 3, 2]
    assert [left.sample.sample_id, right.sample.sample_id] == ["a:3 LL", "a:3 LR"]
    assert not torch.equal(left.sample.source_to_crop.matrix, right.sample.source_to_crop.matrix)


def test_a_key_decides_everything(tmp_path):
    dataset = opened(disc_config(disc_root(tmp_path / "a")))
    assert same(dataset[1, 2, 3], dataset[ItemKey(1, 2, 3)])
    assert same(dataset[4], dataset[0, 4, 4])
    for other in (ItemKey(2, 2, 3), ItemKey(1, 3, 3), ItemKey(1, 2, 3, seed=1)):
        assert not same(dataset[1, 2, 3], dataset[other])


@pytest.mark.parametrize(
    ("split", "random"), [("train", True), ("preview", True), ("validation", False), ("evaluation", False)]
)
def test_splits_augment_or_do_not(tmp_path, split, random):
    roots = [disc_root(tmp_path / name) for name in "ab"]
    dataset = opened(disc_config(roots[0], validation=Validation(base_dir=(roots[1],))), split)
    assert same(dataset[0, 0, 0], dataset[7, 5, 0]) is not random
    assert dataset[0][0].sample.sample_id.startswith("b" if split == "validation" else "a")


def test_a_mirror_swaps_the_labels_of_swapped_points(tmp_path):
    stages = (Crop(output_size=96), Flip(probability=1.0, swap=((0, 1),)))
    ((sample, _targets),) = opened(disc_config(disc_root(tmp_path / "a"), augmentations=stages))[0]
    assert sample.labels.labelled.tolist() == [False, True]


def test_a_missing_mask_is_unknown_everywhere_and_told(tmp_path, caplog):
    ((sample, _targets),) = opened(disc_config(disc_root(tmp_path / "a", mask=None)))[0]
    assert (sample.labels.mask_crop == MISSING_MASK_IGNORE_INDEX).all()
    assert "train data: no image has a mask (LL.mask, LR.mask): none is learned or judged" in caplog.text


def test_without_segmentation_no_mask_is_looked_at(tmp_path):
    root = disc_root(tmp_path / "a", mask="no-such-file.png")
    ((sample, _targets),) = opened(disc_config(root, targets=Targets()))[0]
    assert sample.labels.mask_crop is None
    with pytest.raises(DataError, match="does not exist"):
        opened(disc_config(root))


def test_an_image_that_breaks_later_is_named(tmp_path):
    dataset = opened(disc_config(disc_root(tmp_path / "a")))
    broken = tmp_path / "a" / "LL.image" / "000002.png"
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(ImageError, match=str(broken)):
        dataset[4]


def test_the_size_report_counts_lines_images_and_labels(tmp_path):
    report = opened(disc_config(disc_root(tmp_path / "a"), disc_root(tmp_path / "b", 2))).size_report
    assert (report.records, report.views, dict(report.labelled)) == (7, 14, {"tip": 14, "end": 0})
    assert str(report) == "7 lines, 14 images; labelled: tip 14, end 0"


def test_no_data_is_an_error_that_says_why(tmp_path):
    with pytest.raises(DataError, match="base_dir"):
        opened(disc_config())
    with pytest.raises(DataError, match=r"2 lines: no LL.image"):
        opened(disc_config(disc_root(tmp_path / "a", 2, image=None)))
    with pytest.raises(DataError, match="base_dir"):
        opened(disc_config(disc_root(tmp_path / "b", 1)), "validation")


def test_weights_are_shared_evenly_within_each_root(tmp_path):
    roots = (disc_root(tmp_path / "a", 1), disc_root(tmp_path / "b", 4))
    sampling = Sampling(enabled=True, weights=(3.0, 1.0), samples_per_epoch=20)
    dataset = opened(disc_config(*roots, sampling=sampling))
    np.testing.assert_allclose(dataset.item_weights, [0.375] * 2 + [0.03125] * 8)
    assert dataset.items_per_epoch == 40
    assert opened(disc_config(*roots, sampling=sampling), "evaluation").item_weights is None
    for wrong in ((1.0,), (0.0, 0.0)):
        with pytest.raises(DataError):
            _ = opened(disc_config(*roots, sampling=Sampling(enabled=True, weights=wrong))).item_weights


def test_evaluation_leaves_pixel_values_alone(tmp_path):
    bright = (Crop(output_size=96), Intensity(probability=1.0, brightness=1.0))
    root = disc_root(tmp_path / "a")
    assert same(
        opened(disc_config(root, augmentations=bright), "evaluation")[0],
        opened(disc_config(root, augmentations=bright[:1]), "evaluation")[0],
    )
