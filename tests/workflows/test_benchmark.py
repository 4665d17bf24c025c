"""Models are measured side by side: what a figure says, and what cannot be measured."""

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import cogkp
from cogkp.artifacts.manifest import ANY_BATCH, InputFacts, OutputFacts, Signature
from cogkp.errors import ArtifactError, CogkpError, DataError, ImageError, ModelError, OutputError
from cogkp.inference.model import Model
from cogkp.inference.processor import Prepared
from cogkp.inference.runner import Runner
from cogkp.workflows.benchmark import _compared
from cogkp.workflows.benchmark_runs import STEPS, Steps, assumed
from tests.builders.keypoint_model import keypoint_config, keypoint_task, save_checkpoint, scene
from tests.builders.model_files import write_onnx
from tests.builders.shared_data import shared
from tests.builders.tiny_objects import TinyObjects

QUICK = {"warmup": 1, "runs": 3, "starts": 0, "threads": 1, "size_wh": (120, 90)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    task = keypoint_task(keypoint_config())
    save_checkpoint(folder / "plain.pth", task)
    write_onnx(folder / "plain.onnx", task)
    write_onnx(folder / "any.onnx", task, None)
    write_onnx(folder / "four.onnx", task, 4)
    write_onnx(folder / "points.onnx", keypoint_task(keypoint_config(region="points")))
    write_onnx(folder / "masked.onnx", keypoint_task(keypoint_config(masks=True)))
    write_onnx(folder / "objects.onnx", TinyObjects(), None)
    (folder / "images").mkdir()
    for number, size in enumerate([(120, 90), (64, 64), (33, 200)]):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), scene(number, size))
    return folder


class Slow:
    """A processor and a runner whose steps take known times, and which say when they work."""

    names = ("point",)
    asks_where = False

    def __init__(self, name, said, *, prepare=0.0, network=0.0, answer=0.0):
        self.name, self.said, self.times = name, said, {"prepare": prepare, "network": network, "answer": answer}

    def prepare(self, image):
        time.sleep(self.times["prepare"])
        return Prepared(np.zeros((1, 8, 8), np.float32), np.eye(3), image.shape[1::-1])

    def predictions(self, outputs, prepared):
        self.said.append((self.name, len(prepared)))
        return [self for _ in prepared]

    def to_dict(self):
        time.sleep(self.times["answer"])
        return {}

    def model(self):
        any_batch = Signature(
            (InputFacts("input", (ANY_BATCH, 1, 8, 8)),), (OutputFacts("sum", (ANY_BATCH,), "px", 0.0),)
        )
        return Model(Path(f"{self.name}.slow"), "slow", Sleeper(any_batch, self.times["network"]), self, {})


class Sleeper(Runner):
    name = "sleeper"

    def __init__(self, signature, seconds):
        super().__init__(signature)
        self.seconds = seconds

    def _load(self):
        pass

    def _unload(self):
        pass

    def _run(self, feed):
        time.sleep(self.seconds)
        return {"sum": feed["input"].sum(axis=(1, 2, 3))}


def test_each_step_takes_its_own_time():
    slow = Slow("slow", [], prepare=0.01, network=0.03, answer=0.02)
    found = cogkp.benchmark(slow.model(), batches=[2], **QUICK).times[0]
    # Two images are prepared and answered one after the other, and pass the network together.
    assert [found.step_ms[step] >= least for step, least in zip(STEPS[1:], (20, 30, 40), strict=True)] == [True] * 3
    assert found.step_ms["decode"] < found.step_ms["prepare"] < found.step_ms["network"] < found.step_ms["answer"]
    assert found.latency_ms["p50"] >= 90
    assert found.images_per_s <= 2 / 0.09


def test_models_take_turns_and_every_second_round_goes_backwards():
    said = []
    models = [Slow(name, said).model() for name in "ab"]
    cogkp.benchmark(*models, batches=[1, 3], **(QUICK | {"warmup": 1, "runs": 2}))
    forward = [("a", 1), ("a", 3), ("b", 1), ("b", 3)]
    assert said == [*forward, *reversed(forward), *forward]


def test_figures_are_those_of_the_definition():
    one = [Steps(0.1, 0.2, 0.3, 0.4)] * 3 + [Steps(0.1, 0.2, 1.3, 0.4)]
    two = [Steps(0.05, 0.1, 0.15, 0.2)] * 4
    first, second, alone = _compared([("one", 1), ("two", 1), ("two", 8)], [one, two, two])
    assert first.latency_ms == pytest.approx({"p50": 1000, "p90": 1700, "p95": 1850, "p99": 1970})
    assert first.images_per_s == pytest.approx(4 / 5)
    assert first.step_ms == pytest.approx({"decode": 100, "prepare": 200, "network": 300, "answer": 400})
    assert first.share == pytest.approx({"decode": 0.4 / 5, "prepare": 0.8 / 5, "network": 2.2 / 5, "answer": 1.6 / 5})
    assert (first.ratio, first.ratio_quartiles) == (1.0, (1.0, 1.0))
    assert second.ratio == pytest.approx(0.5)
    assert second.ratio_quartiles == pytest.approx((0.4375, 0.5))
    assert (alone.ratio, alone.ratio_quartiles) == (None, None)
    assert alone.images_per_s == pytest.approx(16)


def test_every_file_of_both_families_is_measured_side_by_side(home):
    names = ["plain.onnx", "plain.pth", "any.onnx", "four.onnx", "points.onnx", "masked.onnx", "objects.onnx"]
    found = cogkp.benchmark(*(home / name for name in names), **QUICK)
    assert [each.name for each in found.models] == names
    assert [each.runs_on for each in found.models[:2]] == ["onnxruntime on cpu", "torch on cpu"]
    cells = [(each.model, each.batch) for each in found.times]
    assert cells == [
        ("plain.onnx", 1),
        *(("plain.pth", batch) for batch in (1, 8)),
        *(("any.onnx", batch) for batch in (1, 8)),
        ("four.onnx", 4),
        ("points.onnx", 1),
        ("masked.onnx", 1),
        *(("objects.onnx", batch) for batch in (1, 8)),
    ]
    for each in found.times:
        assert each.runs == QUICK["runs"]
        assert sum(each.share.values()) == pytest.approx(1)
        assert list(each.latency_ms.values()) == sorted(each.latency_ms.values())
        assert min(each.step_ms.values()) > 0
        assert (each.ratio is None) == (each.batch != 1)
    said = " ".join(found.notes)
    assert "models of centerpose and keypoint answer different questions" in said
    assert "no box was given; points.onnx: a box of the whole image" in said
    assert "no camera was given; objects.onnx" in said
    assert "of 3 runs p99" in said
    text = found.summary()
    assert all(name in text for name in names)
    assert json.loads(json.dumps(found.report))["times"][0]["model"] == "plain.onnx"


def test_what_is_said_is_not_assumed(home):
    images = home / "images"
    camera = np.array([[100.0, 0, 60], [0, 100, 45], [0, 0, 1]])
    ask = {"box": [3, 4, 50, 60], "camera": camera}
    models = [home / name for name in ("points.onnx", "objects.onnx", "plain.onnx")]
    found = cogkp.benchmark(*models, images=images, **QUICK, **ask)
    assert not any("was given" in note or "drawn" in note for note in found.notes)
    assert found.settings["images"] == f"3 images of {images}"


def test_what_nobody_says_is_filled_in_and_no_more(home):
    image = home / "images" / "2.png"  # 33 x 200 pixels
    with cogkp.load(home / "points.onnx") as points, cogkp.load(home / "objects.onnx") as objects:
        assert assumed(points, image, {"camera": 1}) == {"box": [0, 0, 32, 199]}
        assert assumed(points, image, {"box": [1, 2, 3, 4]}) == {"box": [1, 2, 3, 4]}
        (camera,) = assumed(objects, image, {"box": [1, 2, 3, 4]}).values()
        np.testing.assert_allclose(camera, [[240, 0, 16], [0, 240, 99.5], [0, 0, 1]])
        assert assumed(objects, image, {"camera": None, "height": 2}) == {"camera": None, "height": 2}
    with cogkp.load(home / "plain.onnx") as plain:
        assert assumed(plain, image, {"box": [1, 2, 3, 4]}) == {}


@pytest.mark.real_data
def test_real_images_are_taken_from_any_depth(home):
    found = cogkp.benchmark(home / "any.onnx", images=shared("openfield"), batches=[2], **QUICK)
    assert found.times[0].batch == 2


def test_fresh_processes_say_how_long_they_take_and_what_they_hold(home):
    found = cogkp.benchmark(home / "plain.onnx", home / "plain.pth", **(QUICK | {"starts": 2}))
    onnx, checkpoint = (each.start_up for each in found.models)
    for each in (onnx, checkpoint):
        assert min(each.import_s, each.load_s, each.first_answer_s) > 0
        if each.peak_bytes is not None:
            assert 1e7 < each.imported_bytes < each.first_answer_bytes <= each.peak_bytes
            assert each.last_answer_bytes <= each.peak_bytes
    assert checkpoint.load_s > onnx.load_s, "torch is imported for a checkpoint alone"
    assert "a fresh process" in found.summary()


def test_a_model_that_fails_in_a_fresh_process_is_told_in_one_line(home, tmp_path):
    path = tmp_path / "gone.onnx"
    path.write_bytes((home / "plain.onnx").read_bytes())
    with cogkp.load(path) as model:
        path.write_bytes(b"no network")
        with pytest.raises(ModelError, match=r"fresh process @ .*gone\.onnx.*got .*cannot be used") as failure:
            cogkp.benchmark(model, **(QUICK | {"starts": 1}))
    assert "\n" not in str(failure.value)


def test_a_fresh_process_that_never_answers_is_told(home, monkeypatch):
    monkeypatch.setattr("cogkp.workflows.benchmark_runs.PATIENCE_S", 0.01)
    with pytest.raises(ModelError, match=r"fresh process @ .*plain\.onnx.*no answer within 0\.01 s"):
        cogkp.benchmark(home / "plain.onnx", **(QUICK | {"starts": 1}))


def test_an_open_model_stays_open_and_the_same_file_counts_twice(home):
    with cogkp.load(home / "plain.onnx") as model:
        found = cogkp.benchmark(model, model, home / "plain.onnx", **QUICK)
        assert not model.is_closed
        assert [each.name for each in found.models] == ["plain.onnx", "plain.onnx (2)", "plain.onnx (3)"]
        assert [each.ratio is not None for each in found.times] == [True] * 3


def test_files_of_one_name_are_told_apart(home, tmp_path):
    (tmp_path / "any.onnx").write_bytes((home / "any.onnx").read_bytes())
    found = cogkp.benchmark(home / "any.onnx", tmp_path / "any.onnx", **QUICK)
    assert [each.name for each in found.models] == [str(home / "any.onnx"), str(tmp_path / "any.onnx")]


def test_threads_are_those_of_the_call_and_of_nobody_after_it(home):
    before = cv2.getNumThreads(), torch.get_num_threads()
    seen = []

    class Watching(Slow):
        def prepare(self, image):
            seen.append((cv2.getNumThreads(), torch.get_num_threads()))
            return super().prepare(image)

    cogkp.benchmark(Watching("w", []).model(), **(QUICK | {"threads": 3}))
    assert set(seen) == {(3, 3)}
    assert (cv2.getNumThreads(), torch.get_num_threads()) == before


def spoilt(home, tmp_path, what):
    if what == "closed":
        model = cogkp.load(home / "plain.onnx")
        model.close()
        return [model], {}
    if what == "damaged image":
        (tmp_path / "cut.png").write_bytes((home / "images" / "0.png").read_bytes()[:-40])
        return [home / "plain.onnx"], {"images": tmp_path}
    if what == "no image in a folder":
        (tmp_path / "notes.txt").write_text("none")
        return [home / "plain.onnx"], {"images": tmp_path}
    if what == "unreadable":
        (tmp_path / "bad.onnx").write_bytes(b"no network")
        return [tmp_path / "bad.onnx"], {}
    return [home / "plain.onnx"], {}


@pytest.mark.parametrize(
    ("what", "more", "kind", "said"),
    [
        ("closed", {}, ModelError, r"the model is closed @ .*plain\.onnx.*Open it again"),
        ("unreadable", {}, ArtifactError, r"ONNX file cannot be used @ .*bad\.onnx"),
        ("damaged image", {}, ImageError, r"truncated or damaged @ .*cut\.png"),
        ("no image in a folder", {}, DataError, "there are no images"),
        ("", {"images": "nowhere"}, DataError, "nowhere"),
        ("", {"batches": [1, 8]}, ModelError, r"does not take this batch @ .*plain\.onnx: expected 1, got 8"),
        ("", {"runs": 0}, ModelError, "runs = 0: expected >= 1"),
        ("", {"warmup": -1}, ModelError, "warmup = -1"),
        ("", {"box": [1, 2, 3, 4]}, ModelError, r"no model has a use for 'box' @ plain\.onnx"),
        ("", {"boks": [1, 2, 3, 4]}, ModelError, "no model has a use for 'boks'"),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(home, tmp_path, what, more, kind, said):
    models, changes = spoilt(home, tmp_path, what)
    with pytest.raises(kind, match=said) as failure:
        cogkp.benchmark(*models, **(QUICK | changes | more))
    assert "\n" not in str(failure.value)


def test_without_a_model_there_is_nothing_to_measure():
    with pytest.raises(CogkpError, match="there is no model"):
        cogkp.benchmark()


def test_a_batch_that_one_of_two_does_not_take_is_told_before_anything_is_measured(home):
    with pytest.raises(ModelError, match=r"four\.onnx: expected 4, got 8"):
        cogkp.benchmark(home / "any.onnx", home / "four.onnx", batches=[8], **QUICK)


def test_the_report_replaces_its_like_and_nothing_else(home, tmp_path):
    found = cogkp.benchmark(home / "plain.onnx", **QUICK)
    path = tmp_path / "figures.json"
    for _ in range(2):
        found.write(path)
    assert json.loads(path.read_text()) == json.loads(json.dumps(found.report))
    path.write_text('{"mine": 1}')
    with pytest.raises(OutputError, match="did not write"):
        found.write(path)
