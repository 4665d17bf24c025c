"""Targets against a slow reading of the description, object by object and corner by corner."""

import math

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.geometry.heatmap import gaussian_radius
from cogkp.geometry.warp import ImageWarp
from cogkp.tasks.centerpose.targets import ObjectTargets, TargetRules, object_targets, read_cells, render_gaussians
from tests.builders.placed import SIZE_WH, scene
from tests.builders.warps import letterbox, square_crop

RULES = TargetRules(side=256, max_objs=6)
PLAIN = letterbox(SIZE_WH, 256)
WARPS = {
    "letterbox": PLAIN,
    "crop": square_crop((260.0, 450.0), 500.0, 256),
    "turned": square_crop((300.0, 400.0), 900.0, 256, math.radians(25)),
    "mirrored": ImageWarp.mirror(600).then(PLAIN),
}


def one_view(uv, matrix, size, rules):
    """What the description says about one view of one object, or None where it is dropped."""
    grid, inside = [], []
    for u, v in uv:
        if rules.whole_pixels:
            u, v = int(u), int(v)
        inside.append(-0.5 <= u < SIZE_WH[0] - 0.5 and -0.5 <= v < SIZE_WH[1] - 0.5)
        x, y, _ = matrix @ (u, v, 1.0)
        grid.append((x / rules.stride, y / rules.stride))
    if not inside[0] and sum(2 if each else 1 for each in inside[1:]) <= 12:
        return None
    last = rules.cells - 1
    xs, ys = [[min(max(p[axis], 0), last) for p in grid[1:]] for axis in (0, 1)]
    w, h = max(xs) - min(xs), max(ys) - min(ys)
    if w <= 0 or h <= 0:
        return None
    cx, cy = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2) if not rules.center_3d else grid[0]
    ix, iy = math.floor(cx), math.floor(cy)
    if not (0 <= ix < rules.cells and 0 <= iy < rules.cells):
        return None
    shape = torch.tensor([math.ceil(h), math.ceil(w)], dtype=torch.float64)
    found = {"ind": iy * rules.cells + ix, "reg": (cx - ix, cy - iy), "wh": (w, h), "taught": True, "scale_mask": True}
    found["radius"] = max(0, int(gaussian_radius(shape)))
    found["scale"] = [s if rules.absolute_scale else s / size[1] for s in size]
    for name in ("hps", "hps_mask", "hp_ind", "hp_offset", "hp_mask"):
        found[name] = []
    for (x, y), there in zip(grid[1:], inside[1:], strict=True):
        on_grid = there and 0 <= x < rules.cells and 0 <= y < rules.cells
        learned = on_grid or rules.outside_corners
        found["hps"].append((x - ix, y - iy) if learned else (0, 0))
        found["hps_mask"].append(learned)
        found["hp_mask"].append(on_grid)
        found["hp_ind"].append(math.floor(y) * rules.cells + math.floor(x) if on_grid else 0)
        found["hp_offset"].append((x % 1, y % 1) if on_grid else (0, 0))
    return found


def slow_targets(labels, warp, rules):
    columns = []
    for m, size in enumerate(labels.size_xyz):
        views = [
            one_view(uv[m], warp.matrix.numpy(), size, rules) if known[m] else None
            for uv, known in zip(labels.uv_source, labels.hypotheses, strict=True)
        ]
        if any(views):
            columns.append(views)
    return columns[: rules.max_objs]


def assert_same(found, columns, rules):
    empty = object_targets(scene(np.random.default_rng(0), 0, views=len(found.ind)), PLAIN, SIZE_WH, rules)
    for name, values in found._asdict().items():
        expected = np.array(getattr(empty, name))
        assert not expected.any()
        for o, views in enumerate(columns):
            for s, view in enumerate(views):
                if view:
                    expected[s, o] = view[name]
        np.testing.assert_allclose(values, expected, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)
@pytest.mark.parametrize(
    ("views", "change"),
    [
        (1, {}),
        (1, {"center_3d": True}),
        (1, {"absolute_scale": True, "outside_corners": True}),
        (1, {"whole_pixels": True}),
        (4, {}),
        (12, {"max_objs": 3}),
    ],
    ids=str,
)
def test_targets_are_those_of_the_description(warp, views, change):
    rules = attrs.evolve(RULES, **change)
    rng = np.random.default_rng(3)
    taught = 0
    for _ in range(4):
        labels = scene(rng, 8, symmetry=rng.choice([1, 4, 12], 8), views=views)
        found = object_targets(labels, warp, SIZE_WH, rules)
        assert_same(found, slow_targets(labels, warp, rules), rules)
        taught += int(found.taught.sum())
    assert taught > 8


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(WARPS)))
def test_corners_come_back_from_the_grid_to_where_they_were_labelled(seed, name):
    warp, labels = WARPS[name], scene(np.random.default_rng(seed), 3)
    t = object_targets(labels, warp, SIZE_WH, RULES)
    cell = np.stack((t.ind % RULES.cells, t.ind // RULES.cells), -1)
    corner_cell = np.stack((t.hp_ind % RULES.cells, t.hp_ind // RULES.cells), -1)
    wanted = [warp.apply(torch.from_numpy(uv)).numpy()[1:] for uv in labels.uv_source[0]]
    for o in np.flatnonzero(t.taught[0]):
        for way in (cell[0, o] + t.hps[0, o], corner_cell[0, o] + t.hp_offset[0, o]):
            error = min(np.abs(RULES.stride * way - uv)[t.hp_mask[0, o]].max(initial=0.0) for uv in wanted)
            assert error < 1e-3


def test_a_mirrored_picture_teaches_what_the_mirrored_scene_does():
    """Where the mirrored scene is labelled in its own image, nothing else changes."""
    labels = scene(np.random.default_rng(8), 5)
    width = SIZE_WH[0]
    mirrored = attrs.evolve(labels, uv_source=labels.uv_source * (-1, 1) + (width - 1, 0))
    one = object_targets(labels, ImageWarp.mirror(width).then(PLAIN), SIZE_WH, RULES)
    other = object_targets(mirrored, PLAIN, SIZE_WH, RULES)
    assert one.taught.any()
    for name, values in one._asdict().items():
        np.testing.assert_allclose(values, getattr(other, name), atol=1e-4, err_msg=name)


def test_objects_that_cannot_be_learned_take_no_place():
    labels = scene(np.random.default_rng(5), 4, spread=0.2)
    uv = labels.uv_source.copy()
    uv[:, 0], uv[:, 1] = 5000.0, np.nan
    targets = object_targets(attrs.evolve(labels, uv_source=uv), PLAIN, SIZE_WH, RULES)
    rest = attrs.evolve(
        labels,
        uv_source=labels.uv_source[:, 2:],
        hypotheses=labels.hypotheses[:, 2:],
        size_xyz=labels.size_xyz[2:],
        sized=labels.sized[2:],
    )
    kept = object_targets(rest, PLAIN, SIZE_WH, RULES)
    assert targets.taught[0].tolist() == [True, True, False, False, False, False]
    for name, values in targets._asdict().items():
        np.testing.assert_array_equal(values, getattr(kept, name), err_msg=name)
        assert np.isfinite(values).all()
        assert values.dtype == bool or not name.endswith("mask")


def test_sides_that_nobody_knows_are_not_learned():
    labels = scene(np.random.default_rng(5), 2, spread=0.2)
    known = object_targets(labels, PLAIN, SIZE_WH, RULES)
    found = object_targets(attrs.evolve(labels, sized=np.array([True, False])), PLAIN, SIZE_WH, RULES)
    assert known.scale_mask[0, :3].tolist() == [True, True, False]
    assert found.scale_mask[0, :3].tolist() == [True, False, False]
    np.testing.assert_array_equal(found.hps, known.hps)


def slow_bumps(cells, radii, masks, size):
    """Bumps as they are usually drawn: cut out of a window, joined by the maximum."""
    result = np.zeros((cells.shape[-1], size, size), np.float32)
    for o, n in np.ndindex(cells.shape):
        if masks[o, n]:
            r = int(radii[o])
            for y, x in np.ndindex(size, size):
                dy, dx = y - cells[o, n] // size, x - cells[o, n] % size
                if abs(dx) <= r and abs(dy) <= r:
                    value = math.exp(-(dx * dx + dy * dy) / (2 * ((2 * r + 1) / 6) ** 2))
                    result[n, y, x] = max(result[n, y, x], value)
    return result


def test_bumps_are_those_of_the_description():
    rng = np.random.default_rng(0)
    cells, radii = rng.integers(0, 24 * 24, (2, 4, 3)), rng.integers(0, 9, (2, 4))
    masks = rng.random((2, 4, 3)) < 0.7
    masks[1] = False
    drawn = render_gaussians(*map(torch.from_numpy, (cells, radii, masks)), (24, 24)).numpy()
    np.testing.assert_allclose(drawn[0], slow_bumps(cells[0], radii[0], masks[0], 24), atol=1e-6)
    assert (drawn[0] == 1).sum() == len({(n, c) for (o, n), c in np.ndenumerate(cells[0]) if masks[0, o, n]})
    assert not drawn[1].any()


def test_cells_are_read_row_by_row():
    maps = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    cell = torch.tensor([[[7], [19]], [[0], [3]]])
    assert torch.equal(read_cells(maps, cell)[0, 1, 0], maps[0, :, 3, 4])
    assert torch.equal(read_cells(maps, cell)[1, 1, 0], maps[1, :, 0, 3])


def test_one_view_of_each_object_is_picked():
    targets = object_targets(scene(np.random.default_rng(1), 3, symmetry=4, views=4), PLAIN, SIZE_WH, RULES)
    batch = ObjectTargets(*(torch.from_numpy(field)[None] for field in targets))
    view = torch.tensor([[0, 3, 1, 0, 0, 2]])
    picked = batch.pick(view)
    for name, field in batch._asdict().items():
        for o, s in enumerate(view[0]):
            assert torch.equal(getattr(picked, name)[0, o], field[0, s, o])
