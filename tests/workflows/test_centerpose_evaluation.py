"""A checkpoint, its export and a file of another program are judged alike, and leave the documented files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import attrs
import numpy as np
import pytest

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.artifacts.manifest import Origin
from cogkp.config.centerpose.io import load_experiment
from cogkp.errors import ArtifactError, CheckpointError, ConfigError, DataError, OutputError
from cogkp.exporter.deploy import deploy
from cogkp.inference.parity import verify_onnx
from cogkp.measures.evidence import Evidence
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from cogkp.workflows.compare import compare
from cogkp.workflows.evaluate import evaluate
from tests.builders.experiment_model import save_checkpoint, with_section
from tests.builders.html import check_page
from tests.builders.model_files import write_checkpoint
from tests.builders.said_objects import truth_of, write_said
from tests.builders.tiny_boxes import SIDE, tiny_experiment
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, provenance

PICTURES = 5
# An untrained network finds nothing that is likely; of what it finds, errors can be compared as well.
UNLIKELY = 1e-6


class NoWork:
    """A progress that must not be asked to show any."""

    def work(self, label, total):
        raise AssertionError(label)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    config = tiny_experiment(folder, pictures=PICTURES)
    narrow = attrs.evolve(config.model, backbone=attrs.evolve(config.model.backbone, width=0.125))
    return attrs.evolve(config, results_dir=str(folder / "results"), model=narrow)


def judged(experiment, model, folder, key="checkpoint", **changes):
    section = {"results_dir": str(folder), key: str(model), **changes}
    return evaluate(with_section(experiment, "evaluate", **section))


@pytest.fixture(scope="module")
def likely(experiment):
    return with_section(experiment, "inference", visualization_threshold=UNLIKELY)


@pytest.fixture(scope="module")
def checkpoint(likely, tmp_path_factory):
    return save_checkpoint(likely, tmp_path_factory.mktemp("checkpoint") / "model.pth")


@pytest.mark.parametrize("size", [SIDE, (96, 64), (64, 96), (128, 128)])
def test_what_says_the_truth_is_judged_perfect(experiment, tmp_path, caplog, size):
    """The file, not the experiment, says how large its inputs are, and of which shape."""
    truth = truth_of(experiment, size_wh=None if size == SIDE else size)
    model = write_said(tmp_path / "said.onnx", truth, size)
    found = judged(experiment, model, tmp_path / "out", "trt_engine", batch_size=PICTURES)
    assert "is not used" not in caplog.text
    for judgement in ("reference", "once"):
        precision = found.report[judgement]["precision"]
        assert precision["iou"][10] == 1.0
        assert precision["azimuth_deg"][10] == precision["elevation_deg"][10] == 1.0
        assert found.report[judgement]["mean"]["pixel"] < 2e-3  # corners in one cell share their offset
    rows = list(csv.DictReader(found.rows_path.read_text().splitlines()))
    assert [row["picture"] for row in rows] == [f"boxes:{index:05d}" for index in range(PICTURES)]
    assert min(float(row["iou"]) for row in rows) > 0.9


def test_the_folder_holds_what_is_documented(likely, checkpoint, tmp_path):
    found = judged(likely, checkpoint, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *("experiment.yaml", "status.json", "report.txt", "report.csv"),
        *("evaluation.json", "report.html", "predictions.png"),
    }
    assert load_experiment(tmp_path / "experiment.yaml").evaluate.checkpoint == str(checkpoint)
    lines = [json.loads(line) for line in (tmp_path / "status.json").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["STARTED", "SUCCESS"]
    assert {"test_3DIoU", "test_2DMPE"} <= lines[-1]["kpi"].keys()
    text = found.text_path.read_text()
    assert "published protocol" in text
    assert "average precision within" in text
    document = json.loads(found.json_path.read_text())
    evidence = Evidence.from_dict(document["per_frame"])
    assert len(evidence.frames) == PICTURES
    assert document["training"]["epochs"] == 0
    tags = check_page(found.html_path.read_text(encoding="utf-8"))
    assert {"svg", "table", "img"} <= set(tags)
    page = found.html_path.read_text(encoding="utf-8")
    assert "Average precision by 3-D IoU" in page
    assert "evaluation on test data</" in page
    assert all(told.splitlines()[0] == f"{checkpoint} on test data" for told in (text, found.text))
    assert "object 1</th>" not in page  # columns only count objects
    rows = list(csv.reader(found.rows_path.read_text().splitlines()))
    assert rows[0] == ["picture", "object", "iou", "pixels_px", "azimuth_deg", "elevation_deg", "add_m"]
    assert [float(row[2]) for row in rows[1:]] == pytest.approx(evidence.measures[0].values.ravel().tolist(), rel=1e-5)


def test_a_checkpoint_and_its_export_are_judged_alike(likely, checkpoint, tmp_path, caplog):
    task = build_task(likely)
    task.model.load_state_dict(dict(load_checkpoint(checkpoint).state.weights))
    deploy(
        task,
        onnx_path=tmp_path / "model.onnx",
        engine_path=None,
        precision="fp32",
        batch_size=2,
        builder="auto",
        origin=Origin("ab" * 32, str(checkpoint)),
        verify=lambda module, path, signature: verify_onnx(module, path, signature, {}),
        log=print,
    )
    source = judged(likely, checkpoint, tmp_path / "source")
    exported = judged(likely, tmp_path / "model.onnx", tmp_path / "exported")
    (tmp_path / "model.manifest.json").unlink()
    alone = judged(likely, tmp_path / "model.onnx", tmp_path / "alone", "trt_engine")
    assert exported.report["origin"] == alone.report["origin"] == str(checkpoint)
    with caplog.at_level("WARNING", "cogkp"):
        both = judged(likely, checkpoint, tmp_path / "both", trt_engine="absent.engine")
    told = "evaluate.trt_engine is not used: evaluate.checkpoint is given; evaluate.checkpoint=null takes the engine"
    assert told in caplog.messages
    wanted = values_of(source)
    np.testing.assert_array_equal(values_of(both), wanted)
    assert np.isfinite(wanted).sum() > PICTURES
    for other in (exported, alone):
        np.testing.assert_allclose(values_of(other), wanted, rtol=1e-3, atol=1e-3)
    compared = compare(str(source.json_path), str(exported.json_path), output=tmp_path / "page.html")
    assert compared.paired


def values_of(found):
    evidence = Evidence.from_dict(json.loads(found.json_path.read_text())["per_frame"])
    return np.concatenate([measure.values.ravel() for measure in evidence.measures])


def test_models_of_the_other_family_are_refused_in_one_line(experiment, tmp_path):
    config = tiny_config(tmp_path / "points", frames=1)
    seed_everything(0)
    weights = build_task(config).model.state_dict()
    points = write_checkpoint(tmp_path / "points.pth", weights, provenance(config, OPTIONS))
    with pytest.raises(CheckpointError, match="another family") as refused:
        judged(experiment, points, tmp_path / "out")
    assert "\n" not in str(refused.value)
    said = truth_of(experiment, count=1)
    other = write_said(tmp_path / "other.onnx", said, SIDE, names=["keypoints", *said._fields[1:]])
    with pytest.raises(ArtifactError, match="another family"):
        judged(experiment, other, tmp_path / "out")
    lines = (tmp_path / "out" / "status.json").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["STARTED", "FAILURE"] * 2


@pytest.mark.parametrize(
    ("model", "match"),
    [("none.pth", "no such checkpoint"), ("none.onnx", "no such model"), ("none.engine", "no such model")],
)
def test_a_missing_model_is_told(experiment, tmp_path, model, match):
    with pytest.raises(ArtifactError, match=match):
        judged(experiment, tmp_path / model, tmp_path / "out")


def test_files_of_somebody_else_are_told_before_the_work(experiment, checkpoint, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    config = with_section(experiment, "evaluate", results_dir=str(tmp_path), checkpoint=str(checkpoint))
    with pytest.raises(OutputError, match=r"did not write @ .*report\.html"):
        evaluate(config, progress=NoWork())
    assert (tmp_path / "report.html").read_text() == "mine"


def test_wrong_models_are_told(experiment, tmp_path):
    with pytest.raises(ConfigError, match="there is no model"):
        evaluate(experiment)
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="cannot be used"):
        judged(experiment, tmp_path / "broken.onnx", tmp_path / "out")
    for size in (("W", "H"), (SIDE, 62)):
        model = write_said(tmp_path / "said.onnx", truth_of(experiment, count=1), size)
        with pytest.raises(ArtifactError, match=r"do not fit into the model's input.*\(B, 3, H, W\)"):
            judged(experiment, model, tmp_path / "out")
    model.rename(tmp_path / "said.engine")
    with pytest.raises(ArtifactError, match="the engine has no manifest"):
        judged(experiment, tmp_path / "said.engine", tmp_path / "out")


def test_pictures_without_a_camera_cannot_be_judged(experiment, tmp_path):
    folder = tmp_path / "blind"
    folder.mkdir()
    source = min(Path(experiment.dataset.test_data).glob("*.json"))
    picture = source.with_suffix(".jpg")
    (folder / picture.name).write_bytes(picture.read_bytes())
    content = json.loads(source.read_text())
    del content["camera_data"]["intrinsics"]
    content["camera_data"].pop("camera_projection_matrix", None)
    (folder / source.name).write_text(json.dumps(content))
    blind = attrs.evolve(experiment, dataset=attrs.evolve(experiment.dataset, test_data=str(folder)))
    model = write_said(tmp_path / "said.onnx", truth_of(experiment, count=1), SIDE)
    with pytest.raises(DataError, match=r"blind.*fx, fy, cx, cy in pixels"):
        judged(blind, model, tmp_path / "out")
