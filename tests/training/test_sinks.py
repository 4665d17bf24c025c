from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.data.loader import build_loader
from cogkp.errors import OutputError
from cogkp.tasks.registry import build_task
from cogkp.training import events
from cogkp.training.events import EventFile, network_graph
from cogkp.training.plan import plan_training
from cogkp.training.sinks import TensorBoardSink
from cogkp.training.trainer import rehearse
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, run_training

TERMS = {"loss", "supervised_keypoint_loss", "segmentation_loss"}


def read_events(folder: Path) -> list:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    events = []
    for file in sorted(folder.rglob("events.*")):
        data = file.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            assert int.from_bytes(data[8:12], "little") == masked_crc32c(data[:8])
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return events


def tags(events, kind: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for event in events:
        for value in event.summary.value:
            if value.HasField(kind):
                found.setdefault(value.tag, []).append(event.step)
    return found


def picture(batch, outputs):
    return np.zeros((8, 8, 3), np.uint8)


def test_a_quiet_log_holds_scalars_and_the_graph_only(tmp_path):
    sink = TensorBoardSink(tmp_path / "log", draw=picture)
    run_training(tiny_config(tmp_path, segmentation=True, validation=2), tmp_path, sinks=[sink])
    events = read_events(tmp_path / "log")
    scalars = tags(events, "simple_value")
    assert scalars.keys() >= {f"train/{name}" for name in TERMS} | {"train/learning_rate", "train/gradient_norm"}
    assert scalars.keys() >= {"epoch/loss", "epoch/validation/error_mean_px", "epoch/validation/mask_iou"}
    assert scalars["train/loss"] == list(range(1, 7))
    assert scalars["epoch/loss"] == [1, 2, 3]
    assert not tags(events, "histo")
    assert not tags(events, "image")
    assert sum(bool(event.graph_def) for event in events) == 1


def test_a_verbose_log_adds_histograms_and_pictures_every_few_steps(tmp_path):
    sink = TensorBoardSink(tmp_path / "log", verbose=True, log_interval=3, draw=picture)
    task, _ = run_training(tiny_config(tmp_path), tmp_path, sinks=[sink])
    events = read_events(tmp_path / "log")
    names = [name for name, _ in task.model.named_parameters()]
    assert tags(events, "histo") == {f"{kind}/{name}": [1, 4] for name in names for kind in ("weights", "gradients")}
    assert tags(events, "image") == {"images/preview": [1, 4], "images/prediction": [1, 4]}


def test_a_run_that_goes_on_has_one_graph(tmp_path):
    config = tiny_config(tmp_path)
    _, first = run_training(config, tmp_path, sinks=[TensorBoardSink(tmp_path / "log")])
    saved, sink = load_checkpoint(first.checkpoint), TensorBoardSink(tmp_path / "log")
    run_training(config, tmp_path, given=frozenset({"epochs"}), restored=saved, sinks=[sink])
    events = read_events(tmp_path / "log")
    assert len(list((tmp_path / "log").glob("events.*"))) == 2
    assert tags(events, "simple_value")["train/loss"] == list(range(1, 13))
    assert sum(bool(event.graph_def) for event in events) == 1


def test_curves_do_not_overlap_after_a_restart(tmp_path):
    """TensorBoard hides what has the step of a later session start, or more, within the same folder."""
    config = tiny_config(tmp_path)
    _, first = run_training(config, tmp_path, sinks=[TensorBoardSink(tmp_path / "log")])
    saved = load_checkpoint(first.checkpoint)
    sink = TensorBoardSink(tmp_path / "log", restored=(4, 2))
    run_training(config, tmp_path, given=frozenset({"epochs"}), restored=saved, sinks=[sink])
    starts = {
        part: [event.step for event in read_events(tmp_path / "log" / part) if event.HasField("session_log")]
        for part in ("", "epochs")
    }
    assert starts["epochs"] == [3]
    assert sorted(starts[""]) == [3, 5]


def test_a_rehearsal_takes_one_step_and_logs_it_with_the_graph(tmp_path):
    task = build_task(tiny_config(tmp_path))
    before = [parameter.clone() for parameter in task.model.parameters()]
    loader = build_loader(task.datasets("train"), batch_size=4)
    sink = TensorBoardSink(tmp_path / "log")
    comparison = rehearse(task, plan_training(OPTIONS, frozenset(), None), loader, [sink])
    assert comparison.scalars.keys() == {"loss", "supervised_keypoint_loss"}
    assert any(not torch.equal(a, b) for a, b in zip(before, task.model.parameters(), strict=True))
    events = read_events(tmp_path / "log")
    assert tags(events, "simple_value")["train/loss"] == [1]
    assert sum(bool(event.graph_def) for event in events) == 1


def test_the_graph_is_whole_and_leaves_the_model_alone(tmp_path):
    from tensorboardX.proto.graph_pb2 import GraphDef

    task = build_task(tiny_config(tmp_path))
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    graph = GraphDef.FromString(network_graph(task.model.eval(), torch.zeros(1, 1, 64, 64)).SerializeToString())
    names = {node.name for node in graph.node}
    assert len(names) == len(graph.node)
    assert all(source in names for node in graph.node for source in node.input)
    convolutions = [node for node in graph.node if node.op == "aten::_convolution"]
    assert len(convolutions) == sum(isinstance(m, torch.nn.Conv2d) for m in task.model.modules())
    assert any(node.name.startswith("stem/") for node in convolutions)
    assert all(torch.equal(before[name], tensor) for name, tensor in task.model.state_dict().items())


def test_what_was_flushed_is_in_the_file_while_the_training_goes_on(tmp_path):
    file = EventFile(tmp_path)
    for step in range(1, 40):  # more than the queue of a writer with a thread would hold
        file.add_scalar("loss", 0.5 * step, step)
    file.flush()
    assert tags(read_events(tmp_path), "simple_value") == {"loss": list(range(1, 40))}
    file.close()
    file.close()


def test_what_is_added_is_shown_before_long_without_a_flush(tmp_path, monkeypatch):
    file = EventFile(tmp_path)
    file.add_scalar("loss", 1.0, 1)
    assert not tags(read_events(tmp_path), "simple_value")
    monkeypatch.setattr(events, "SHOWN_AFTER_S", -1.0)
    file.add_scalar("loss", 1.0, 2)
    assert tags(read_events(tmp_path), "simple_value") == {"loss": [1, 2]}
    file.close()


class Refusing:
    """A listener that fails at its second call of one method."""

    def __init__(self, method: str) -> None:
        self.calls = 0
        setattr(self, method, self.refuse)

    def refuse(self, *_):
        self.calls += 1
        if self.calls == 2:
            raise OutputError("cannot write", where="log")

    def start(self, model, example): ...
    def step(self, event): ...
    def epoch(self, event): ...
    def flush(self): ...
    def close(self): ...


@pytest.mark.parametrize("method", ["epoch", "flush"])
def test_a_log_that_cannot_be_written_does_not_cost_the_epoch(tmp_path, method):
    with pytest.raises(OutputError, match="cannot write @ log"):
        run_training(tiny_config(tmp_path), tmp_path, sinks=[Refusing(method)])
    (saved,) = {load_checkpoint(path).state.position for path in tmp_path.rglob("checkpoint_latest.pth")}
    assert saved == (2, 0)


def test_a_histogram_counts_each_value_once(tmp_path):
    file = EventFile(tmp_path)
    values = np.array([-3.0, -1e-5, 0.0, 1e-5, 2.0, 2.0, 1e3], np.float32)
    file.add_histogram("weights", values, 1)
    file.close()
    (found,) = [value.histo for event in read_events(tmp_path) for value in event.summary.value]
    assert (found.num, found.min, found.max) == (7, -3.0, 1e3)
    assert sum(found.bucket) == 7
    edges = np.array(found.bucket_limit)
    assert [int(n) for n in found.bucket if n] == [1, 1, 1, 1, 2, 1]
    assert np.all(np.diff(edges) > 0)


def test_an_impossible_folder_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        TensorBoardSink(tmp_path / "file" / "log")


def test_a_tag_shows_control_characters(tmp_path):
    log = EventFile(tmp_path)
    log.add_scalar("a/tip\x1b[31m\n\u202e", 1.0, 1)
    log.add_image("b/tip\x1b[31m", picture(None, None), 1)
    log.add_histogram("c/tip\x1b[31m", np.zeros(3, np.float32), 1)
    log.close()
    written = [value.tag for event in read_events(tmp_path) for value in event.summary.value]
    assert len(written) == 3
    assert all(tag.isprintable() and "x1b" in tag for tag in written)
