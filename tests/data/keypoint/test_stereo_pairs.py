"""Stereo pairs stay stereo pairs: whatever is drawn for each view, its pixels find their way back to the same rays."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.config.augment import Affine, Crop, Flip
from cogkp.config.keypoint.io import structure
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.data.augment import AugmentPipeline
from cogkp.data.images import encode_image
from cogkp.data.keypoint.dataset import open_roots
from cogkp.data.keypoint.scene.body import sample_tool
from cogkp.data.keypoint.scene.render import stereo_head
from cogkp.data.keypoint.stereo import check_labels, pair_consistency, paired_rig
from cogkp.data.keypoint.synthetic import demo_config, write_recording
from cogkp.data.loader import build_loader
from cogkp.errors import DataError
from cogkp.geometry.projection import epipolar_distance, fundamental
from cogkp.geometry.rig import CameraRig
from cogkp.geometry.warp import ImageWarp
from cogkp.tasks.registry import build_task

MOST_PX = 1e-3
LENSES = ((), (-0.15, 0.04, 1e-3, -1e-3, 0.01), (0.1, -0.05, 0.0, 0.0, 0.0, 0.02, 0.0, 0.0))


def rig_with(lens) -> CameraRig:
    head = stereo_head()
    bends = torch.tensor(lens, dtype=torch.float64)
    return CameraRig(tuple(head), tuple(attrs.evolve(camera, distortion=bends) for camera in head.values()))


def epipolar_px(rig: CameraRig, uv: torch.Tensor) -> torch.Tensor:
    """Distances of (..., 2, N, 2) sensor pixels to each other's lines, lens undone."""
    left, right = rig.undistort_pixels(uv).unbind(-3)
    P = rig.projection_matrices
    return epipolar_distance(left, right, fundamental(P[0], P[1]))


@st.composite
def pipelines(draw):
    crop = draw(
        st.sampled_from(
            [
                Crop(output_size=256),
                Crop(output_size=96, region="points", margin=0.3, jitter=0.2),
                Crop(output_size=192, region="box", box=(20.0, 10.0, 240.0, 200.0)),
            ]
        )
    )
    turn = draw(st.floats(0, 180))
    affine = Affine(
        probability=1.0, rotation_deg=(-turn, turn), scale=(draw(st.floats(0.3, 1.0)), 2.0), shift=draw(st.floats(0, 1))
    )
    stages = draw(st.permutations([crop, affine, Flip(probability=0.5)]))
    return AugmentPipeline(stages, training=True)


@settings(max_examples=150, deadline=None)
@given(pipelines(), st.integers(0, 2**32), st.sampled_from(LENSES))
def test_true_correspondences_stay_on_their_epipolar_lines_after_any_spatial_augmentation(pipeline, seed, lens):
    rig, generator = rig_with(lens), np.random.default_rng(seed)
    xyz = torch.from_numpy(sample_tool(generator, dict(zip(rig.names, rig.cameras, strict=True))))
    uv = rig.project(xyz).uv
    back = []
    for pixels in uv:
        warp = pipeline.sample_warp((320, 256), pixels.numpy(), np.ones(3, bool), generator)
        # Networks speak float32.
        back.append(warp.inverse().apply(warp.apply(pixels).float().double()))
    assert epipolar_px(rig, torch.stack(back)).max() < MOST_PX


@settings(max_examples=50, deadline=None)
@given(pipelines(), st.integers(0, 2**32))
def test_crops_have_a_fundamental_matrix_of_their_own(pipeline, seed):
    rig, generator = rig_with(()), np.random.default_rng(seed)
    xyz = torch.from_numpy(sample_tool(generator, dict(zip(rig.names, rig.cameras, strict=True))))
    uv = rig.project(xyz).uv
    warps = [pipeline.sample_warp((320, 256), pixels.numpy(), np.ones(3, bool), generator) for pixels in uv]
    P = [warp.matrix @ matrix for warp, matrix in zip(warps, rig.projection_matrices, strict=True)]
    crops = [warp.apply(pixels) for warp, pixels in zip(warps, uv, strict=True)]
    assert epipolar_distance(*crops, fundamental(*P)).max() < MOST_PX


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    root = tmp_path_factory.mktemp("stereo") / "recording"
    write_recording(root, 4, seed=3)
    return root


def stereo_config(root, **changes) -> KeypointConfig:
    document = demo_config(root, root.with_name("held_out")) | {"stereo_pairing": {"enabled": True}}
    document["data_mappings"]["xyz_world"] = [f"truth.xyz_world.{point}" for point in ("tip", "turn", "end")]
    return structure(document | changes)


def test_batches_hold_whole_pairs_in_order_and_their_labels_meet_in_space(recording):
    config = stereo_config(recording)
    task = build_task(config)
    rig = paired_rig(config)
    batches = list(build_loader(task.datasets("train"), batch_size=4, shuffle=True, seed=5))
    for batch in batches:
        assert batch.pairs.tolist() == [[0, 1], [2, 3]]
        assert [name.rsplit(" ", 1)[1].rsplit(".", 1)[-1] for name in batch.ids] == ["LL", "LR"] * 2
        assert len({name.rsplit(" ", 1)[0] for name in batch.ids}) == 2
        back = ImageWarp(batch.source_to_crop).inverse().apply(batch.targets.uv_crop.double())
        pairs = back[batch.pairs]
        assert epipolar_px(rig, pairs).max() < MOST_PX
        found = rig.triangulate(pairs)
        assert found.valid.all()
        assert batch.targets.located.all()
        torch.testing.assert_close(found.xyz_world, batch.targets.xyz_world[::2], rtol=0, atol=1e-3)
    assert len({name for batch in batches for name in batch.ids}) == 8


def test_frames_of_another_shape_than_calibrated_are_listed_before_anything_is_read(recording, tmp_path):
    calibration = json.loads((recording / "calibration.config.json").read_text())
    calibration["LR"]["resolution"] = [640, 480]
    wrong = tmp_path / "calibration.json"
    wrong.write_text(json.dumps(calibration))
    with pytest.raises(DataError) as error:
        build_task(stereo_config(recording, calibration_file=str(wrong))).datasets("train")
    assert len(str(error.value).splitlines()) == 4
    assert "640x480, the resolution of camera LR" in str(error.value)
    assert "got 320x256" in str(error.value)


def test_one_frame_of_another_size_among_many_is_named(recording, tmp_path):
    config = stereo_config(recording)
    picture = recording / "LR.image" / "000002.png"
    kept = picture.read_bytes()
    try:
        picture.write_bytes(encode_image(np.zeros((100, 100), np.uint8)))
        with pytest.raises(DataError, match=r"000002\.png.*got 100x100"):
            build_task(config).datasets("train")
    finally:
        picture.write_bytes(kept)


def exchanged(recording, tmp_path):
    """The calibration with the names of its cameras exchanged."""
    calibration = json.loads((recording / "calibration.config.json").read_text())
    path = tmp_path / "exchanged.json"
    path.write_text(json.dumps({"LL": calibration["LR"], "LR": calibration["LL"]}))
    return str(path)


@pytest.mark.parametrize("split", ["train", "preview", "evaluation"])
def test_exchanged_cameras_are_found_out_by_the_labels_before_the_first_step(recording, tmp_path, split):
    config = stereo_config(recording, calibration_file=exchanged(recording, tmp_path))
    with pytest.raises(DataError, match=r"the cameras look swapped: .* px off their epipolar lines.*exchanged\.json"):
        build_task(config).datasets(split)


def test_labels_of_a_scaled_copy_are_judged_where_the_calibration_counts(recording, tmp_path):
    calibration = json.loads((recording / "calibration.config.json").read_text())
    for camera in calibration.values():
        camera["resolution"] = [640, 512]
        K = np.array(camera["intrinsic"])
        K[:2, 2] += 0.5
        K[:2] *= 2
        K[:2, 2] -= 0.5
        camera["intrinsic"] = K.tolist()
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps(calibration))
    config = stereo_config(recording, calibration_file=str(twice))
    records = open_roots(config.base_dir, config.data_mappings)[0].records
    assert pair_consistency(records, paired_rig(config)).median_px < MOST_PX


def test_few_labels_are_not_judged(recording, tmp_path):
    config = stereo_config(recording, calibration_file=exchanged(recording, tmp_path))
    records = open_roots(config.base_dir, config.data_mappings)[0].records
    check_labels(records[:2], paired_rig(config), "here")  # six points could agree by chance
    check_labels([], paired_rig(config), "here")


def test_a_few_labels_among_many_lines_are_found(recording, tmp_path):
    config = stereo_config(recording, calibration_file=exchanged(recording, tmp_path))
    records = open_roots(config.base_dir, config.data_mappings)[0].records
    blank = attrs.evolve(
        records[0],
        views=tuple(attrs.evolve(view, labelled=np.zeros_like(view.labelled)) for view in records[0].views),
    )
    with pytest.raises(DataError, match="look swapped"):
        check_labels([blank] * 2500 + list(records) + [blank] * 2500, paired_rig(config), "here")
