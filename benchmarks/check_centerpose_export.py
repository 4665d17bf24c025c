"""Compare exported object-pose networks of full size with their sources, one and two images at a time.

Two comparisons are told: that of the exporter, step by step, and one of what both put out in the end. The latter holds
only where no choice is close: flat images, in which all cells are alike, are left out of it.

Run: OMP_NUM_THREADS=1 python -m benchmarks.check_centerpose_export [--images FOLDER] [--side 512]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import nn

from cogkp.artifacts.manifest import Signature
from cogkp.config.centerpose.spec import BackboneSpec, CenterPoseConfig, ExportSection, ModelSpec
from cogkp.data.boxes.view import BoxInput
from cogkp.data.images import read_colour
from cogkp.data.images.survey import find_images
from cogkp.exporter.onnx_export import Tracing, export_onnx, signature_of
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from cogkp.inference.parity import Case, compare, parity_inputs, verify_onnx
from cogkp.inference.torch_runner import TorchRunner
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.workflows.setup import evenly

BACKBONES = ("DLA34", "fan_small")
SAMPLES = 4
FLAT = ("grey", "black", "white", "dot", "checkerboard")


def task_of(backbone: str, side: int) -> Task:
    """Make a network with fresh weights, whose heads say more than an untrained one's."""
    torch.manual_seed(0)
    model = ModelSpec(backbone=BackboneSpec(model_type=backbone))
    config = CenterPoseConfig(model=model, export=ExportSection(input_width=side, input_height=side))
    task = build_task(config)
    for name, head in task.model.heads.items():
        nn.init.normal_(head[-1].weight, 0, 0.05 if "hm" in name else 0.02)
    return task


def check(backbone: str, side: int, folder: Path | None) -> None:
    """Export one network and print both comparisons."""
    task = task_of(backbone, side)
    module, spec = task.export_module(), task.export_spec(2)
    signature = signature_of(module, spec, any_batch=True)
    data = task.config.dataset
    view = BoxInput(size_wh=(side, side), mean=data.mean, std=data.std)
    paths = find_images(folder) if folder else ()
    samples = {paths[row].name: view.of(read_colour(paths[row]))[0] for row in evenly(len(paths), SAMPLES)}
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        path = export_onnx(module, spec, Path(place) / "m.onnx", how=Tracing(16, any_batch=True))
        exported = time.perf_counter() - started
        for each in verify_onnx(module, path, signature, samples):
            print(f"{backbone:9} step by step {each.output:22} {each.maximum:9.2g} {each.unit:12} {each.worst_input}")
        rough = uneven(signature, samples)
        with TorchRunner(module, signature) as source, OnnxRuntimeRunner(path, signature, threads=1) as runner:
            for each in compare(source, runner, rough).outputs:
                print(
                    f"{backbone:9} in the end   {each.output:22} {each.maximum:9.2g} {each.unit:12} {each.worst_input}"
                )
    seconds = time.perf_counter() - started
    print(f"{backbone:9} {side} px, {len(samples)} images: exported in {exported:.0f} s, all in {seconds:.0f} s")


def uneven(signature: Signature, samples: Mapping[str, np.ndarray]) -> list[Case]:
    """Take the inputs that are not flat."""
    cases = parity_inputs(signature, samples)
    kept = []
    for case in cases:
        rows = [row for row, name in enumerate(case.rows) if not name.startswith(FLAT)]
        if rows:
            feed = {name: np.ascontiguousarray(array[rows]) for name, array in case.feed.items()}
            kept.append(attrs.evolve(case, rows=tuple(case.rows[row] for row in rows), feed=feed))
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=None)
    parser.add_argument("--side", type=int, default=512)
    wanted = parser.parse_args()
    for name in BACKBONES:
        check(name, wanted.side, wanted.images)
