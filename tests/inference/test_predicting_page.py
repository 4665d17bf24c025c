"""The code on the page about asking a model runs as it stands there."""

import re
from pathlib import Path

import cv2
import numpy as np

import cogkp
from tests.builders.keypoint_model import keypoint_config, keypoint_task, save_checkpoint, scene
from tests.builders.model_files import write_onnx
from tests.builders.rendered_pair import SIZE_WH, write_calibration
from tests.builders.videos import write_video

PAGE = Path(__file__).parents[2] / "docs" / "predicting.md"


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    first, part, exported, sources, views = blocks
    monkeypatch.chdir(tmp_path)
    task = keypoint_task(keypoint_config())
    (tmp_path / "checkpoints").mkdir()
    save_checkpoint(tmp_path / "checkpoints" / "checkpoint_latest.pth", task)
    cv2.imwrite("image.png", scene())
    names = {}
    exec(first, names)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said[1:]] == ["tip", "turn", "end"]
    write_onnx(tmp_path / "tool.onnx", task, None)
    exec(exported, names)
    np.testing.assert_allclose(names["predictions"][1].points, names["found"].points, atol=0.02 * 120 / 64)
    looking = keypoint_task(keypoint_config(region="points"))
    save_checkpoint(tmp_path / "part.pth", looking)
    names |= {"model": cogkp.load("part.pth"), "image": scene(0, (320, 240))}
    exec(part, names)
    np.testing.assert_allclose(names["first"].points, names["found"].points, atol=0.01)
    Path("images").mkdir()
    Path("images/image.png").write_bytes(Path("image.png").read_bytes())
    write_video(Path("video.avi"), fourcc="MJPG", images=[scene(number) for number in range(4)])
    exec(sources, names)
    assert names["summary"].counts["frames"] == 2
    assert Path("points-drawn/video.mp4").is_file()
    write_calibration(Path("rig.json"))
    for name in ("left", "right"):
        cv2.imwrite(f"{name}.png", scene(0, SIZE_WH))
    names["model"] = cogkp.load("tool.onnx")
    exec(views, names)
    assert list(names["seen"].views) == ["LL", "LR"]
