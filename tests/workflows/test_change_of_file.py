"""A checkpoint, its exported file and a file of fewer bits, evaluated by one command and compared frame by frame."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cogkp.artifacts.manifest import read_manifest, write_manifest
from cogkp.artifacts.names import file_sha256, manifest_path
from cogkp.config.centerpose.io import write_experiment
from cogkp.config.keypoint.io import dump
from cogkp.config.train import ExportOptions
from cogkp.files import write_json
from cogkp.workflows.export import export
from cogkp.workflows.train import train
from tests.builders.command import run_s6
from tests.builders.experiment_model import save_checkpoint, with_section
from tests.builders.html import check_page
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS


def with_fewer_bits(path: Path, folder: Path) -> Path:
    """A copy whose weights have eight bits of mantissa; described as the file it was made of."""
    import torch

    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            rounded = torch.tensor(numpy_helper.to_array(tensor)).bfloat16().float().numpy()
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    other = folder / "rounded.onnx"
    onnx.save(model, other)
    write_manifest(attrs.evolve(read_manifest(path), onnx_sha256=file_sha256(other)), other)
    return other


@pytest.fixture(scope="module", params=["keypoint", "centerpose"])
def models(request, tmp_path_factory) -> tuple[Path, Path, Path]:
    """A configuration, a checkpoint and its ONNX file."""
    folder = tmp_path_factory.mktemp("models")
    if request.param == "keypoint":
        config = tiny_config(folder, validation=3)
        write_json(folder / "config.json", dump(config))
        run = train(config, OPTIONS, checkpoint_root=folder / "runs", log_dir=None, report=False)
        options = ExportOptions(path=str(folder / "model.onnx"), engine=False)
        return folder / "config.json", run.checkpoint, export(config, options, checkpoint=str(run.checkpoint)).onnx
    config = with_section(tiny_experiment(folder, pictures=3, width=0.125), "inference", visualization_threshold=1e-6)
    checkpoint = save_checkpoint(config, folder / "model.pth")
    config = attrs.evolve(config, results_dir=str(folder / "results"))
    spec = write_experiment(folder / "spec.yaml", config)
    return spec, checkpoint, export(with_section(config, "export", checkpoint=str(checkpoint))).onnx


@pytest.fixture
def evaluated(models, monkeypatch, capfd, tmp_path):
    """``s6 cog evaluate``, by name of the file of the model; gives the folder of the results."""

    def run(model: Path) -> Path:
        place = tmp_path / model.name.replace(".", "-")
        words = ("cog", "evaluate", "-c", models[0], "--model", model, "--output", place, "-w", 0)
        code, _, err = run_s6(monkeypatch, capfd, *words)
        assert code == 0, err
        return place

    return run


@pytest.fixture
def compared(monkeypatch, capfd):
    def run(*places: Path) -> dict:
        code, out, err = run_s6(monkeypatch, capfd, "cog", "compare", *places, "--json")
        assert code == 0, err
        found = json.loads(out)
        code, out, err = run_s6(monkeypatch, capfd, "cog", "compare", *places)
        return {**found, "text": out}

    return run


def errors_px(place: Path) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Read the errors of a document by hand: by frame, all points of all of its rows."""
    found = json.loads((place / "evaluation.json").read_text())["per_frame"]
    measure = next(each for each in found["measures"] if each["unit"] == "px")
    by_frame: dict[str, list[float]] = {}
    for frame, row in zip(measure["frame"], measure["values"], strict=True):
        by_frame.setdefault(found["frames"][frame], []).extend(np.nan if value is None else value for value in row)
    return by_frame


def test_the_cost_of_fewer_bits_is_told_by_median_and_worst_frame(models, evaluated, compared, tmp_path):
    _, checkpoint, whole = models
    places = evaluated(checkpoint), evaluated(with_fewer_bits(whole, tmp_path))
    found = compared(*places)
    ours, theirs = map(errors_px, places)
    changes = {
        frame: np.nanmax(np.abs(np.subtract(theirs[frame], values)))
        for frame, values in ours.items()
        if np.isfinite(np.subtract(theirs[frame], values)).any()
    }
    worst = max(changes, key=lambda frame: changes[frame])
    said = found["file_change"]
    assert said["median"] == pytest.approx(np.median(list(changes.values())))
    assert (said["worst"]["frame"], said["worst"]["change"]) == (worst, pytest.approx(changes[worst]))
    assert said["worst"]["change"] > 0
    assert found["first"]["model"] == {"kind": "checkpoint", "precision": "fp32"}
    assert found["second"]["model"] == {"kind": "onnx", "precision": "fp32"}
    (line,) = [line for line in found["text"].splitlines() if line.startswith("From ")]
    for word in ("(checkpoint, fp32)", "rounded.onnx (onnx, fp32)", "median frame", worst):
        assert word in line
    page = Path(found["page"]).read_text(encoding="utf-8")
    check_page(page)
    assert "<h2>What the change of file costs</h2>" in page
    assert line in page.replace("&#x27;", "'")


def test_the_same_file_twice_has_no_such_cost(models, evaluated, compared, tmp_path):
    place = evaluated(models[1])
    again = tmp_path / "again"
    again.mkdir()
    (again / "evaluation.json").write_bytes((place / "evaluation.json").read_bytes())
    found = compared(place, again)
    assert found["file_change"] is None
    assert "median frame" not in found["text"]


def test_an_exact_copy_costs_nothing(models, evaluated, compared, tmp_path):
    """Told in so many words, for another precision of which nothing is seen."""
    place = evaluated(models[2])
    again = tmp_path / "again"
    again.mkdir()
    document = json.loads((place / "evaluation.json").read_text())
    document["model"] = {"kind": "engine", "precision": "fp16"}
    (again / "evaluation.json").write_text(json.dumps(document))
    assert "the change of file costs nothing" in compared(place, again)["text"]


def test_a_document_of_an_earlier_release_is_told_by_its_name(models, evaluated, compared, tmp_path):
    place = evaluated(models[2])
    again = tmp_path / "again"
    again.mkdir()
    document = json.loads((place / "evaluation.json").read_text())
    del document["model"]
    (again / "evaluation.json").write_text(json.dumps(document))
    found = compared(again, place)
    assert found["first"]["model"] == {"kind": "onnx", "precision": ""}


def test_an_engine_without_a_gpu_ends_in_one_line(models, monkeypatch, capfd, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"plan")
    for path in (models[2], manifest_path(models[2])):  # as where somebody else has built the engine
        (tmp_path / path.name).write_bytes(path.read_bytes())
    words = ("-c", models[0], "--model", engine, "--output", tmp_path / "o")
    code, _, err = run_s6(monkeypatch, capfd, "cog", "evaluate", *words)
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert "an engine runs on an NVIDIA GPU only" in line
