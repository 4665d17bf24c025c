"""Decoding against a slow reading of the description, and in the exported graph against torch."""

import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from cogkp.errors import ModelError
from cogkp.exporter.onnx_export import Tracing, export_onnx
from cogkp.models.centerpose import CHANNELS, CenterPoseNetwork, CenterPoseOutputs
from cogkp.tasks.base import ExportSpec, OutputSpec
from cogkp.tasks.centerpose.decode import BEHIND, DecodeRules, DecodingNetwork, _peaks, decode_maps
from cogkp.tasks.centerpose.detections import MISSING, DecodedObjects
from tests.builders.tiny_objects import StandIn, TinyObjects

NAMES = ("bboxes", "scores", "kps", "clses", "obj_scale", "kps_displacement_mean", "kps_heatmap_mean")


def maps_of(count, height, width, seed=0):
    """Maps of some objects whose corners have peaks more or less where the centre's cell sees them."""
    rng = np.random.default_rng(seed)
    maps = {name: rng.normal(0, 1, (count, c, height, width)) for name, c in CHANNELS.items()}
    maps["hm"] -= 3.0
    maps["hm_hp"] -= 4.0
    maps["wh"] = rng.uniform(4, 14, maps["wh"].shape)
    maps["hps"] *= 4
    for name in ("reg", "hp_offset"):
        maps[name] = rng.uniform(0, 1, maps[name].shape)
    for b in range(count):
        for _ in range(12):
            y, x = rng.integers(0, height), rng.integers(0, width)
            maps["hm"][b, 0, y, x] = rng.uniform(-3, 5)
            for j in range(8):
                u, v = maps["hps"][b, 2 * j : 2 * j + 2, y, x] + (x, y) + rng.normal(0, 1.5, 2)
                if 0 <= u < width and 0 <= v < height:
                    maps["hm_hp"][b, j, int(v), int(u)] = rng.uniform(-3, 5)
    return CenterPoseOutputs(**{name: torch.from_numpy(m).float() for name, m in maps.items()})


def slow_peaks(logits, count):
    """Cells of one map that no neighbour exceeds, the highest first; then the others."""
    heat = 1 / (1 + np.exp(-logits.astype(np.float64)))
    height, width = heat.shape
    ranked = []
    for y, x in np.ndindex(height, width):
        around = heat[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        peak = heat[y, x] == around.max()
        ranked.append((not peak, -heat[y, x], x, y))
    return [(0.0 if beside else -minus, x, y) for beside, minus, x, y in sorted(ranked)[:count]]


def slow_objects(maps, b, count, displacement_only=False):
    """The description, step by step, for one image."""
    m = {name: getattr(maps, name)[b].double().numpy() for name in CHANNELS}
    joints = []
    for j in range(8):
        peaks = slow_peaks(m["hm_hp"][j], count)
        joints.append(
            [
                (s, x + m["hp_offset"][0, y, x], y + m["hp_offset"][1, y, x]) if s > 0.1 else (-1.0, MISSING, MISSING)
                for s, x, y in peaks
            ]
        )
    for score, x, y in slow_peaks(m["hm"][0], count):
        w, h = m["wh"][:, y, x]
        cx, cy = x + m["reg"][0, y, x], y + m["reg"][1, y, x]
        left, top, right, bottom = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        seen, best, peaked = [], [], []
        for j in range(8):
            u, v = m["hps"][2 * j, y, x] + x, m["hps"][2 * j + 1, y, x] + y
            s, pu, pv = min(joints[j], key=lambda peak: math.hypot(peak[1] - u, peak[2] - v))
            d = math.hypot(pu - u, pv - v)
            outside = pu < left or pu > right or pv < top or pv > bottom
            rejected = outside or s < 0.1 or d > 0.3 * max(w, h)
            tests = [pu > 0.8 * left, pu < 1.2 * right, pv > 0.8 * top, pv < 1.2 * bottom]
            tests += [s > 0.1, d < 0.5 * max(w, h), score > 0.1]
            seen += [u, v]
            best += [u, v] if rejected else [pu, pv]
            peaked += [pu, pv] if all(tests) and not displacement_only else [MISSING, MISSING]
        yield (left, top, right, bottom), [score], best, [0.0], m["scale"][:, y, x], seen, peaked


@pytest.mark.parametrize("displacement_only", [False, True])
@pytest.mark.parametrize(("height", "width", "count"), [(24, 24, 40), (16, 36, 25)])
def test_objects_are_those_of_the_description(height, width, count, displacement_only):
    maps = maps_of(2, height, width)
    found = decode_maps(maps, DecodeRules(count, displacement_only))
    assert found._fields == NAMES
    for b in range(2):
        columns = zip(*slow_objects(maps, b, count, displacement_only), strict=True)
        for name, expected in zip(NAMES, columns, strict=True):
            np.testing.assert_allclose(getattr(found, name)[b].numpy(), np.array(expected), atol=1e-4, err_msg=name)
    assert (found.kps != found.kps_displacement_mean).any()
    share = (found.kps_heatmap_mean != MISSING).float().mean()
    assert share == 0 if displacement_only else share > 0.02


def test_peaks_are_used_where_the_published_networks_never_do():
    """An object whose peaks lie just where its centre sees them."""
    maps = CenterPoseOutputs(**{name: torch.full((1, c, 16, 16), -9.0) for name, c in CHANNELS.items()})
    maps.hm[0, 0, 8, 8] = 4.0
    maps.wh[:], maps.reg[:], maps.hp_offset[:] = 9.0, 0.5, 0.25
    corners = torch.tensor([[x, y] for x in (-3.0, 3.0) for y in (-3.0, -1.0, 1.0, 3.0)])
    maps.hps[0, :, 8, 8] = corners.flatten()
    for j, (x, y) in enumerate((corners + 8).long().tolist()):
        maps.hm_hp[0, j, y, x] = 3.0
    found = decode_maps(maps, DecodeRules(5))
    assert torch.allclose(found.kps_heatmap_mean[0, 0], (corners + 8.25).flatten())
    assert torch.equal(found.kps[0, 0], found.kps_heatmap_mean[0, 0])
    assert (found.kps_heatmap_mean[0, 1:] == MISSING).all()
    assert found.scores[0, :, 0].tolist() == pytest.approx([1 / (1 + math.exp(-4)), *[1 / (1 + math.exp(9))] * 4])


def test_one_picture_is_decoded_as_in_a_batch():
    maps = maps_of(3, 16, 16)
    whole, single = (
        decode_maps(maps, DecodeRules(20)),
        decode_maps(CenterPoseOutputs(*(m[1:2] for m in maps)), DecodeRules(20)),
    )
    for one, other in zip(whole, single, strict=True):
        assert torch.equal(one[1:2], other)


def test_gradients_reach_the_maps():
    maps = CenterPoseOutputs(*(m.requires_grad_() for m in maps_of(1, 12, 12)))
    found = decode_maps(maps, DecodeRules(10))
    sum(part.square().sum() for part in found).backward()
    assert maps.hm_hp.grad is None  # how likely a corner's peak is is not told
    assert all(m.grad.isfinite().all() and m.grad.any() for m in maps if m is not maps.hm_hp)


def test_more_objects_than_cells_are_refused():
    with pytest.raises(ModelError, match="fewer cells than objects"):
        decode_maps(maps_of(1, 4, 4), DecodeRules(17))


def spec_of(height, width, batch):
    draw = torch.Generator().manual_seed(batch)
    example = torch.randn(batch, 3, height, width, generator=draw)
    return ExportSpec({"input": example}, tuple(OutputSpec(name, "cell", 1e-4) for name in NAMES), {})


def assert_agrees(module, path, image):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == list(NAMES)
    found = session.run(None, {"input": image.numpy()})
    with torch.no_grad():
        expected = module(image)
    for name, got, wanted in zip(NAMES, found, expected, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-4, rtol=0, err_msg=name)
    return DecodedObjects(*map(torch.from_numpy, found))


@pytest.mark.parametrize(("size", "opset"), [((96, 96), 16), ((128, 160), 18), ((96, 64), 20)])
@pytest.mark.parametrize("batch", [1, 2])
def test_exported_decoding_equals_torch(tmp_path, size, opset, batch):
    module = DecodingNetwork(StandIn(), DecodeRules(30)).eval()
    spec = spec_of(*size, batch)
    path = export_onnx(module, spec, tmp_path / "m.onnx", how=Tracing(opset))
    found = assert_agrees(module, path, spec.inputs["input"])
    assert (found.kps_heatmap_mean != MISSING).float().mean() > 0.05


@pytest.mark.parametrize("opset", [16, 20])
def test_one_exported_file_takes_any_batch(tmp_path, opset):
    task = TinyObjects()
    how = Tracing(opset, any_batch=True)
    path = export_onnx(task.module, task.export_spec(2), tmp_path / "m.onnx", how=how)
    for batch in (1, 2, 5):
        assert_agrees(task.module, path, spec_of(64, 64, batch).inputs["input"])


def tied_maps(seed):
    """Maps of so few different numbers that hardly any peak is alone."""
    draw = np.random.default_rng(seed)
    maps = maps_of(2, 16, 16, seed)
    shapes = {name: getattr(maps, name).shape for name in ("hm", "hm_hp")}
    return maps._replace(
        **{name: torch.from_numpy(draw.integers(-3, 2, each)).float() for name, each in shapes.items()}
    )


class Decoding(nn.Module):
    def forward(self, *maps):
        return decode_maps(CenterPoseOutputs(*maps), DecodeRules(40), by_place=True)


def test_equal_peaks_have_one_order_in_torch_and_in_the_file(tmp_path):
    maps, names = tied_maps(0), list(CenterPoseOutputs._fields)
    spec = ExportSpec(dict(zip(names, maps, strict=True)), tuple(OutputSpec(name, "cell", 0.0) for name in NAMES), {})
    path = export_onnx(Decoding().eval(), spec, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for seed in range(3):
        maps = tied_maps(seed)
        assert len(maps.hm.unique()) <= 5
        found = session.run(None, {name: values.numpy() for name, values in zip(names, maps, strict=True)})
        for name, got, wanted in zip(NAMES, found, Decoding()(*maps), strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), atol=1e-6, rtol=0, err_msg=name)


def test_the_order_of_equal_peaks_is_that_of_their_places():
    maps = tied_maps(1)
    bits = maps.hm.clone()
    bits[bits == 0] = torch.where(torch.arange(int((bits == 0).sum())) % 2 == 0, 0.0, -0.0)  # both zeros occur
    ranked = torch.where(bits == nn.functional.max_pool2d(bits, 3, 1, 1), bits, bits - BEHIND).flatten(2)
    wanted = ranked.sort(dim=-1, stable=True, descending=True).indices[..., :40]
    assert torch.equal(_peaks(bits, 40, by_place=True).cell, wanted)


@pytest.mark.slow
def test_exported_dla34_equals_torch(tmp_path):
    torch.manual_seed(0)
    network = CenterPoseNetwork("DLA34")
    for name, head in network.heads.items():
        nn.init.normal_(head[-1].weight, 0, 0.05 if "hm" in name else 0.02)
    module = DecodingNetwork(network, DecodeRules()).eval()
    spec = spec_of(96, 96, 2)
    path = export_onnx(module, spec, tmp_path / "m.onnx", how=Tracing(16, any_batch=True))
    for batch in (1, 2):
        assert_agrees(module, path, spec_of(96, 96, batch).inputs["input"])
