"""A profile shows the steps it says, and changes none of them."""

from __future__ import annotations

import json
import logging

import attrs
import pytest
import torch

from cogkp.errors import OutputError
from cogkp.training.stopwatch import ProfileSink
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, run_training


def profiled_steps(path) -> int:
    events = json.loads(path.read_text())["traceEvents"]
    return len({event["name"] for event in events if event.get("name", "").startswith("ProfilerStep")})


def test_ten_steps_after_the_first_are_in_the_trace_and_the_training_is_the_same(tmp_path, caplog):
    config = tiny_config(tmp_path)
    options = attrs.evolve(OPTIONS, epochs=3, batch_size=2)
    path = tmp_path / "trace.json"
    with caplog.at_level(logging.INFO, "cogkp"):
        watched, _ = run_training(config, tmp_path / "a", options=options, sinks=[ProfileSink(path, warmup=2, steps=4)])
    plain, _ = run_training(config, tmp_path / "b", options=options)
    expected, found = plain.model.state_dict(), watched.model.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert profiled_steps(path) == 4
    names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}
    assert {"aten::mkldnn_convolution", "Optimizer.step#AdamW.step"} <= names
    said = [record.getMessage() for record in caplog.records]
    assert any(f"profile of 4 steps: {path}" in line for line in said)
    table = said[next(i for i, line in enumerate(said) if line.startswith("operator")) :]
    assert any("aten::" in line for line in table)
    assert not any(line.startswith(("ProfilerStep", "enumerate(DataLoader)")) for line in table)


def test_a_training_that_ends_within_the_profile_has_a_shorter_one(tmp_path):
    path = tmp_path / "trace.json"
    run_training(tiny_config(tmp_path), tmp_path, sinks=[ProfileSink(path, warmup=2)])
    assert profiled_steps(path) >= 4


def test_a_training_that_ends_before_says_so(tmp_path, caplog):
    path = tmp_path / "trace.json"
    options = attrs.evolve(OPTIONS, epochs=1)
    with caplog.at_level(logging.WARNING, "cogkp"):
        run_training(tiny_config(tmp_path), tmp_path, options=options, sinks=[ProfileSink(path)])
    assert "nothing was profiled: the training had 2 steps, a profile needs 15" in caplog.text
    assert not path.exists()


def test_a_trace_that_cannot_be_written_is_told(tmp_path):
    options = attrs.evolve(OPTIONS, epochs=1, batch_size=2)
    sink = ProfileSink(tmp_path / "nowhere" / "trace.json", warmup=1, steps=2)
    with pytest.raises(OutputError, match=r"trace\.json"):
        run_training(tiny_config(tmp_path), tmp_path, options=options, sinks=[sink])
