from __future__ import annotations

import attrs
import pytest

from cogkp.errors import OutputError
from cogkp.workflows.evaluation import evaluate
from cogkp.workflows.training import train
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, Watcher


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    config = tiny_config(tmp_path)
    trained = train(config, attrs.evolve(OPTIONS, epochs=1), checkpoint_root=tmp_path / "runs", log_dir=None)
    (tmp_path / "report").write_text("")
    watcher = Watcher()
    with pytest.raises(OutputError, match="report"):
        evaluate(config, restore=str(trained.checkpoint), output_dir=tmp_path / "report", progress=watcher)
    assert watcher.begun == []
