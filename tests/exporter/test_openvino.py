"""OpenVINO takes the ONNX file of a keypoint model as it is. Needs a package that is no dependency of this library."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import cogkp
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
SNIPPET = r"<!-- run by tests/exporter/test_openvino.py -->\n```python\n(.*?)```"
AGREED_PX = 1e-4


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openvino")
    config = tiny_config(folder / "data", segmentation=True)
    run = cogkp.train(config, OPTIONS, checkpoint_root=folder / "checkpoints", log_dir=None)
    return config, str(run.checkpoint)


@pytest.mark.parametrize(("batch_size", "rows"), [(1, 1), (0, 3)])
def test_openvino_answers_like_onnx_runtime(trained, tmp_path, monkeypatch, batch_size, rows):
    pytest.importorskip("openvino", reason="openvino is not installed")
    config, checkpoint = trained
    path = tmp_path / "tool.release.onnx"
    options = cogkp.ExportOptions(path=str(path), engine=False, batch_size=batch_size)
    cogkp.export(config, options, checkpoint=checkpoint)
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(SNIPPET, PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    session, size = onnxruntime.InferenceSession(path), config.crop.output_size
    for seed in range(10):
        image = np.random.default_rng(seed).random((rows, 1, size, size), np.float32)
        names = {"image": image}
        exec(snippet, names)
        truth = session.run(["keypoints"], {"input": image})[0]
        assert names["points"].shape == truth.shape
        apart = np.linalg.norm(names["points"] - truth, axis=-1).max()
        assert apart < AGREED_PX
