"""Starting is cheap: told by what gets loaded, which a slow machine cannot change."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "cv2", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "tensorboardX", "cattrs", "yaml"}
COSTLY_TO_TYPER = {"rich", "pydantic"}

RUN = """
import json, sys
sys.argv = ["s6", *json.loads(sys.argv[1])]
from cogkp_cli.app import main
try:
    main()
finally:
    sys.stderr.write(json.dumps(sorted(sys.modules)))
"""


def loaded(code: str, *arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stderr)}


def test_front_door_loads_nothing() -> None:
    names = loaded("import cogkp, json, sys; dir(cogkp); sys.stderr.write(json.dumps(sorted(sys.modules)))")
    assert "cogkp" in names
    assert names & (HEAVY | {"attr", "attrs"}) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["cog", "--help"],
        ["cog", "keypoint", "--help"],
        ["cog", "evaluate", "-h"],
        ["cog", "calibration", "check", "-h"],
    ],
    ids=" ".join,
)
def test_help_loads_no_heavy_package(arguments: list[str]) -> None:
    names = loaded(RUN, json.dumps(arguments))
    assert "typer" in names
    assert names & (HEAVY | COSTLY_TO_TYPER) == set()


def test_config_room_needs_no_numbers() -> None:
    names = loaded(
        "import json, sys, cogkp; cogkp.KeypointConfig.default(); cogkp.TrainOptions(); "
        "sys.stderr.write(json.dumps(sorted(sys.modules)))"
    )
    assert names & (HEAVY - {"cattrs"}) == set()
