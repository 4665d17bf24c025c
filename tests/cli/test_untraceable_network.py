"""A network that cannot be traced is trained all the same: the log goes without its graph, and says so once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from cogkp.config.keypoint.io import dump
from cogkp.training.sinks import TensorBoardSink
from tests.builders.command import run_s6
from tests.builders.tiny_keypoints import tiny_config
from tests.training.test_sinks import read_events, tags

TOLD = "the TensorBoard log has no graph of the network"
QUICK = ("-e", "1", "-b", "4", "-w", "0", "--precision", "fp32")


@pytest.fixture
def s6(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_text(json.dumps(dump(tiny_config(tmp_path / "data"))))
    return lambda *words: run_s6(monkeypatch, capfd, "cog", "keypoint", "-c", "c.json", *QUICK, *words)


@pytest.fixture(
    params=[RuntimeError("tracer\nof several lines"), NotImplementedError(), KeyError("x"), AttributeError("jit")]
)
def untraceable(request):
    """Make every network raise while it is traced, and only then."""

    def refuse(module, inputs):
        if torch.jit.is_tracing():
            raise request.param

    handle = register_module_forward_pre_hook(refuse)
    yield
    handle.remove()


@pytest.mark.parametrize("verb", ["--dry-run", "--train"])
def test_the_verb_ends_well_with_all_but_the_graph(s6, untraceable, tmp_path, verb):
    code, out, err = s6(verb)
    assert code == 0, err
    (line,) = [line for line in err.splitlines() if TOLD in line]
    assert "all else is logged" in line
    assert "Traceback" not in out + err
    events = read_events(tmp_path / "logs")
    assert not any(event.graph_def for event in events)
    assert tags(events, "simple_value")["train/loss"][0] == 1
    if verb == "--train":
        assert list(Path("checkpoints").rglob("checkpoint_latest.pth"))
        assert tags(events, "simple_value")["epoch/loss"] == [1]


def test_a_network_that_can_be_traced_has_its_graph_and_no_warning(s6, tmp_path):
    code, _, err = s6("--dry-run")
    assert code == 0
    assert TOLD not in err
    assert sum(bool(event.graph_def) for event in read_events(tmp_path / "logs")) == 1


def test_a_network_that_cannot_be_copied_costs_the_graph_alone(tmp_path, caplog):
    model = nn.Linear(2, 2)
    model.kept = model.weight * 2  # torch refuses to copy what was computed with a gradient
    state = torch.get_rng_state()
    sink = TensorBoardSink(tmp_path)
    sink.start(model, torch.zeros(1, 2))
    sink.close()
    assert "deepcopy protocol" in caplog.text
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
