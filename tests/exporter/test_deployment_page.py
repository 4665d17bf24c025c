"""The snippet of the deployment page runs as it stands, on a file that was just deployed."""

import re
from functools import partial
from pathlib import Path

from cogkp.artifacts.manifest import Origin
from cogkp.exporter.deploy import deploy
from cogkp.inference.parity import verify_onnx
from tests.builders.tiny_export import TinyTask

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"


def test_the_snippets_of_the_page_run(tmp_path, monkeypatch, capsys):
    deploy(
        TinyTask(),
        onnx_path=tmp_path / "tool.release.onnx",
        engine_path=None,
        precision="fp32",
        batch_size=1,
        builder="auto",
        origin=Origin(config_sha256="00" * 32),
        verify=partial(verify_onnx, samples={}),
        log=lambda line: None,
    )
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    first, second, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(first, scope)
    assert capsys.readouterr().out.splitlines() == [
        "keypoints (1, 2, 2) px",
        "heatmaps (1, 2, 16, 16) logit",
        "mask_logits (1, 3, 64, 64) logit",
    ]
    exec(second, scope)
    assert set(scope["outputs"]) == {"keypoints", "heatmaps", "mask_logits"}
