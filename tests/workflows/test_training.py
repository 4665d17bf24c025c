from __future__ import annotations

import json
import logging

import attrs
import pytest

from cogkp.errors import DataError, OutputError
from cogkp.workflows.train import train
from tests.builders.tiny_keypoints import tiny_config, write_recording
from tests.builders.training import OPTIONS


def test_a_training_that_cannot_begin_leaves_no_run_behind(tmp_path):
    (tmp_path / "logs").write_text("")
    with pytest.raises(OutputError, match="logs"):
        train(tiny_config(tmp_path), OPTIONS, checkpoint_root=tmp_path / "runs", log_dir=tmp_path / "logs")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("part", ["base_dir", "validation.base_dir"])
def test_data_without_any_label_is_refused_before_the_first_step(tmp_path, part):
    config = tiny_config(tmp_path, validation=2)
    root = config.base_dir[0] if part == "base_dir" else config.validation.base_dir[0]
    write_recording(tmp_path / "bare", 2, labelled=False)
    (tmp_path / "bare" / "data.jsonl").replace(f"{root}/data.jsonl")
    with pytest.raises(DataError, match=f"no point is labelled @ {part}"):
        train(config, OPTIONS, checkpoint_root=tmp_path / "runs", log_dir=None)
    assert not (tmp_path / "runs").exists()


def test_the_amount_of_data_is_told(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "cogkp"):
        train(tiny_config(tmp_path, validation=2), OPTIONS, checkpoint_root=tmp_path / "runs", log_dir=None)
    assert "train data: 8 lines, 8 images; labelled:" in caplog.text
    assert "validation data: 2 lines, 2 images; labelled:" in caplog.text


def test_a_profile_lies_in_the_run_folder(tmp_path):
    options = attrs.evolve(OPTIONS, batch_size=2)
    config = tiny_config(tmp_path)
    done = train(config, options, checkpoint_root=tmp_path / "runs", log_dir=None, profile=True)
    assert json.loads((done.run_dir / "trace.json").read_text())["traceEvents"]
