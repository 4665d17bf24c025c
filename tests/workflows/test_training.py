from __future__ import annotations

import pytest

from cogkp.errors import OutputError
from cogkp.workflows.training import train
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS


def test_a_training_that_cannot_begin_leaves_no_run_behind(tmp_path):
    (tmp_path / "logs").write_text("")
    with pytest.raises(OutputError, match="logs"):
        train(tiny_config(tmp_path), OPTIONS, checkpoint_root=tmp_path / "runs", log_dir=tmp_path / "logs")
    assert list((tmp_path / "runs").iterdir()) == []
