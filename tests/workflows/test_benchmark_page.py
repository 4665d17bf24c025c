"""The code on the page about speed runs as it stands there."""

import re
from pathlib import Path

from tests.builders.keypoint_model import keypoint_config, keypoint_task
from tests.builders.model_files import write_onnx

PAGE = Path(__file__).parents[2] / "docs" / "benchmark.md"


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    write_onnx(tmp_path / "tool.release.onnx", keypoint_task(keypoint_config()))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    said = capsys.readouterr().out
    assert "a fresh process" in said
    assert said.splitlines()[-1].startswith("tool.release.onnx 1 ")
