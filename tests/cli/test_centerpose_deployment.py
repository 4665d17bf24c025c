"""``s6 cog centerpose export`` and ``gen_trt_engine`` as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cogkp.config.centerpose.io import write_experiment
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from tests.builders.command import run_s6
from tests.builders.tiny_objects import tiny_objects_onnx
from tests.workflows.test_centerpose_export import narrow_experiment, saved


def run(monkeypatch, capfd, *arguments):
    return run_s6(monkeypatch, capfd, "cog", "centerpose", *arguments)


def test_from_a_checkpoint_to_a_file_that_is_not_overwritten(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    seed_everything(0)
    config = narrow_experiment(tmp_path)
    saved(build_task(config), tmp_path / "m.pth")
    write_experiment(Path("e.yaml"), config)
    call = ("export", "-e", "e.yaml", "results_dir=out", "export.checkpoint=m.pth", "export.batch_size=1")
    code, out, err = run(monkeypatch, capfd, *call)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[-1] == "wrote m.onnx: batch 1, compared on 4 images and on synthetic inputs"
    assert any("cell at most, in" in line for line in lines)
    assert {path.name for path in tmp_path.glob("m.*")} == {"m.pth", "m.onnx", "m.manifest.json"}
    code, out, err = run(monkeypatch, capfd, *call)
    assert (code, out) == (1, "")
    assert "there is such a file already @ m.onnx" in err
    assert "Traceback" not in err


def test_from_a_file_to_an_engine(tmp_path, monkeypatch, capfd):
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.chdir(tmp_path)
    tiny_objects_onnx(Path("m.onnx"))
    write_experiment(Path("e.yaml"), CenterPoseConfig(results_dir="out"))
    words = ("gen_trt_engine.onnx_file=m.onnx", "gen_trt_engine.trt_engine=m.engine")
    code, out, err = run(
        monkeypatch, capfd, "gen_trt_engine", "-e", "e.yaml", *words, "--engine-builder", "tensorrt_rtx", "--json"
    )
    assert code == 0, err
    said = json.loads(out)
    assert (said["precision"], said["batch_sizes"], said["engine"]) == ("fp32", [1, 4, 8], "m.engine")
    assert Path(said["manifest"]).is_file()


def test_what_is_missing_is_told_at_once(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write_experiment(Path("e.yaml"), CenterPoseConfig(results_dir="out"))
    code, out, err = run(monkeypatch, capfd, "gen_trt_engine", "-e", "e.yaml", "gen_trt_engine.tensorrt.data_type=INT8")
    assert (code, out) == (2, "")
    for word in ("onnx_file", "trt_engine", "cal_image_dir", "cal_cache_file"):
        assert word in err
