"""Write the corpus again: small good files of every kind that is read. ``python -m tests.fuzz.make_corpus``."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import attrs
import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from cogkp.artifacts.calibration_cache import CalibrationCache, write_calibration
from cogkp.artifacts.checkpoint import Checkpoint, Provenance, TrainingState
from cogkp.artifacts.evaluations import write_evaluation
from cogkp.artifacts.manifest import (
    InputFacts,
    Manifest,
    Origin,
    OutputDifference,
    OutputFacts,
    to_metadata,
    write_manifest,
)
from cogkp.artifacts.names import file_sha256
from cogkp.artifacts.status import StatusLog
from cogkp.config.centerpose.io import dump_experiment
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.keypoint.io import template
from cogkp.config.yaml_reading import yaml_text
from cogkp.data.calibration import calibration_content
from tests.builders.calibrations import (
    anipose_text,
    chain,
    kalibr_text,
    rectified,
    stereo_entries,
    toed_in,
    write_storage,
)
from tests.builders.evidence import evidence
from tests.data.calibration.test_dialects import ros_pair

CORPUS = Path(__file__).parent / "corpus"
SIZE_WH = (24, 16)


def main() -> None:
    """Write every file."""
    _configs(CORPUS / "config")
    _calibrations(CORPUS / "calibration")
    _labels(CORPUS)
    _images(CORPUS / "image")
    _artifacts(CORPUS)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _configs(folder: Path) -> None:
    _write(folder / "template.json", json.dumps(template(), indent=1))
    views = [["LL.tip", "LL.end"], ["LR.tip", "LR.end"]]
    stereo = {
        "base_dir": ["a", "b"],
        "data_mappings": {"x": ["LL.image", "LR.image"], "y": views},
        "stereo_pairing": {"enabled": True},
        "calibration_file": "c.json",
        "loss_terms": {"triangulation_rigidity_loss": {"weight": 0.5, "segments": [[0, 1, 1.5]]}},
        "augmentations": [{"type": "crop", "output_size": 64, "region": "box", "box": [0, 0, 9, 9]}, {"type": "flip"}],
    }
    _write(folder / "stereo.json", json.dumps(stereo))
    _write(CORPUS / "spec" / "defaults.yaml", yaml_text(dump_experiment(CenterPoseConfig.default())))
    _write(
        CORPUS / "spec" / "short.yaml",
        "results_dir: &out out\ntrain: {num_epochs: 3, seed: 600, precision: FP32}\ndataset:\n  train_data: *out\n"
        "  val_data: ${dataset.train_data}/v\n  category: 'a b'\nexport:\n  checkpoint: ???\n",
    )
    overrides = ("train.gpu_ids=[0,1]", "train.optim={lr: 1e-4, lr_steps: [30]}", "dataset.category='a'")
    _write(CORPUS / "override" / "some.txt", "\n".join(overrides))


def _calibrations(folder: Path) -> None:
    _write(folder / "own.json", json.dumps(calibration_content(toed_in())))
    _write(folder / "anipose.toml", anipose_text(toed_in()))
    _write(folder / "caliscope.toml", anipose_text(toed_in()).replace("[cam_", "[cameras."))
    _write(folder / "kalibr.yaml", kalibr_text(chain()))
    size = {"image_width": 640, "image_height": 480}
    for suffix in (".yml", ".xml", ".json"):
        write_storage(folder / f"opencv{suffix}", {**stereo_entries(toed_in()), **size})
    for content in ros_pair(rectified()):
        lines = [f"{key}: {json.dumps(value)}" for key, value in content.items()]
        _write(folder / f"ros_{content['camera_name']}.yaml", "\n".join(lines) + "\n")


def _labels(corpus: Path) -> None:
    points = "scorer,a,a,a,a\nbodyparts,tip,tip,end,end\ncoords,x,y,x,y\n"
    _write(corpus / "table" / "CollectedData_a.csv", points + "img/0.png,3.5,4,10,2.25\nimg/1.png,,,1,1\n")
    pair = {"image": "img/0.png", "tip": [1, 2], "turn": [3.5, 4], "end": [9, 9]}
    _write(corpus / "pairs" / "pairs.jsonl", json.dumps({"split": "train", "LL": pair, "LR": pair, "note": 1}) + "\n")
    line = {"B": {"image": "img/0.png", "tip": [1, 2], "end": None}, "valid": True}
    _write(corpus / "lines" / "data.jsonl", f"{json.dumps(line)}\n{json.dumps({**line, 'valid': False})}\n")
    box = {
        "class": "carton",
        "projected_cuboid": [[12, 8], *[[4.5 + 6 * (i & 1), 2 + 3 * (i >> 1)] for i in range(8)]],
        "location": [0.1, 0.0, -2.0],
        "quaternion_xyzw": [0.0, 0.0, 0.0, 1.0],
        "scale": [1.0, 0.5, 0.7],
        "visibility": 1,
    }
    camera = {"width": 24, "height": 16, "intrinsics": {"fx": 20.0, "fy": 20.0, "cx": 12.0, "cy": 8.0}}
    _write(corpus / "box" / "0.json", json.dumps({"camera_data": camera, "objects": [box]}))


def _images(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    width, height = SIZE_WH
    grey = (np.arange(width * height, dtype=np.uint32).reshape(height, width) % 251).astype(np.uint8)
    colour = np.dstack([grey, 255 - grey, grey // 2])
    for name, pixels in (("grey", grey), ("colour", colour), ("deep", grey.astype(np.uint16) * 257)):
        for suffix in (".png", ".tif"):
            cv2.imwrite(str(folder / f"{name}{suffix}"), pixels)
    cv2.imwrite(str(folder / "colour.jpg"), colour)
    cv2.imwrite(str(folder / "colour.webp"), colour)


def _artifacts(corpus: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    state = TrainingState(
        weights=dict(model.state_dict()),
        optimizer={"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
        schedule={"base_rate": 0.1},
        rng={"python": (3, (1, 2), None)},
        epoch=3,
        step=1,
        target_epochs=10,
        best={"error": 1.5, "epoch": 2},
    )
    provenance = Provenance(
        config={"prefix": "tool"}, options={"epochs": 10}, points=("tip", "end"), num_classes=None, data=("a",), run="r"
    )
    (corpus / "checkpoint").mkdir(exist_ok=True)
    (corpus / "checkpoint" / "small.pth").write_bytes(Checkpoint(state=state, provenance=provenance).to_bytes())
    manifest = Manifest(
        created="2026-01-31T09:05:07+00:00",
        versions={"torch": "2"},
        origin=Origin("0" * 64),
        precision="fp32",
        batch_size=1,
        opset=17,
        inputs=(InputFacts("image", (1, 1, 32, 32), range=(0.0, 1.0)),),
        outputs=(OutputFacts("keypoints", (1, 1, 32, 32), "px", 0.5),),
        facts={"family": "keypoint", "points": ["tip"]},
        parity=(OutputDifference("keypoints", "px", 0.5, 0.1, 0.1, 0.0, "image"),),
    )
    shape = [1, 1, 32, 32]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["keypoints"])],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, shape)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, to_metadata(manifest))
    for folder in ("onnx", "manifest"):
        (corpus / folder).mkdir(exist_ok=True)
        onnx.save(made, corpus / folder / "model.onnx")
    path = corpus / "manifest" / "model.onnx"
    write_manifest(attrs.evolve(manifest, onnx_sha256=file_sha256(path)), path)
    nothing = {"frames": ["a", "b"], "measures": [], "ratios": []}
    content = {
        "checkpoint": "runs/a/checkpoint_latest.pth",
        "split": "validation",
        "prefix": "tool",
        "created": "2026-01-31T09:05:07+00:00",
        "overall": {"mean_px": 1.0},
        "config": {},
        "training": {"config": {}, "options": {}, "data": {}, "epochs": 3},
        "versions": {},
        "machine": {},
        "data": [],
    }
    (corpus / "evaluation").mkdir(exist_ok=True)
    write_evaluation(corpus / "evaluation" / "evaluation.json", content, nothing)
    (corpus / "ranges").mkdir(exist_ok=True)
    write_calibration(corpus / "ranges" / "cal.json", CalibrationCache("0" * 64, 4, {"a": 1.0, "b": 2.5}))
    session = {"started": "2026-01-31T09:05:07+00:00", "machine": {}}
    _write(corpus / "run" / "run.json", json.dumps({"format_version": 1, "sessions": [session]}))
    step = {"event": "step", "epoch": 1, "step_of_epoch": 1, "time": session["started"], "loss": 1.5}
    lines = [step, {**step, "event": "epoch"}]
    history = "".join(f"{json.dumps(line)}\n" for line in lines)
    _write(corpus / "history" / "metrics.jsonl", history)
    # Two evaluations of one run, whose record and history lie beside them.
    (corpus / "comparison").mkdir(exist_ok=True)
    for number, name in enumerate(("first", "second")):
        found = evidence(seed=number, frames=12)
        whole = {**content, "run": name, "data": [{"root": "a", "lines": 12, "labels_sha256": "0" * 64}]}
        write_evaluation(corpus / "comparison" / f"{name}.json", whole, found.to_dict())
    noted = {**session, "mirror_sha256": "0" * 64, "checkpoint_sha256": "1" * 64, "ended": session["started"]}
    for folder in ("comparison", "latest"):
        _write(corpus / folder / "run.json", json.dumps({"format_version": 1, "sessions": [noted]}))
        _write(corpus / folder / "metrics.jsonl", history)
    _write(corpus / "latest" / "checkpoint_latest.pth", "its bytes do not matter")
    status = StatusLog(corpus / "status" / "status.json", lambda: datetime(2026, 1, 31, 9, 5, 7))
    (corpus / "status" / "status.json").unlink(missing_ok=True)
    status.write("RUNNING", "one", kpi={"error": 1.5}, facts={"epoch": 1, "step": 2})


if __name__ == "__main__":
    main()
