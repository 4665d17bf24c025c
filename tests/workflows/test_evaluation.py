"""What an evaluation leaves behind, and what two of them say about each other."""

from __future__ import annotations

import json
import logging
import shutil
from html import escape
from pathlib import Path

import attrs
import numpy as np
import pytest

from cogkp.config.keypoint.spec import DataMappings, Validation
from cogkp.errors import ArtifactError, EvaluationError, OutputError
from cogkp.measures.evidence import Evidence
from cogkp.measures.figures import intervals
from cogkp.workflows.compare import compare
from cogkp.workflows.evaluate import evaluate
from cogkp.workflows.train import train
from tests.builders.html import check_page
from tests.builders.tiny_keypoints import POINTS, tiny_config, write_recording
from tests.builders.training import OPTIONS, Watcher

HOSTILE = "<script>alert(1)</script>"
FRAMES = 14


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two epochs with a report, whose held-out recording has frames without any label."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny_config(folder, segmentation=True, validation=FRAMES)
    lines = (folder / "held_out" / "data.jsonl").read_text().splitlines()
    bare = [json.loads(line) for line in lines[:3]]
    for line in bare:
        for point in POINTS:
            line["B"][point] = None
    (folder / "held_out" / "data.jsonl").write_text("\n".join([*map(json.dumps, bare), *lines[3:]]) + "\n")
    options = attrs.evolve(OPTIONS, epochs=2)
    return config, train(config, options, checkpoint_root=folder / "runs", log_dir=None), folder


def measured(trained, output: Path, **settings):
    config, run, folder = trained
    return evaluate(config, model=str(run.best), output_dir=output, checkpoint_root=folder / "runs", **settings)


def test_a_training_leaves_its_report_in_the_run_folder(trained):
    _, run, _ = trained
    assert run.report == run.run_dir / "report.html"
    tags = check_page(run.report.read_text(encoding="utf-8"))
    assert {"svg", "table", "img"} <= set(tags)
    document = json.loads((run.run_dir / "evaluation.json").read_text())
    assert document["checkpoint"] == str(run.best)
    lines = [json.loads(line) for line in (run.run_dir / "metrics.jsonl").read_text().splitlines()]
    (judged,) = (line for line in lines if (line["event"], line["epoch"]) == ("epoch", document["training"]["epochs"]))
    assert document["overall"]["mean_px"] == pytest.approx(judged["validation/error_mean_px"], rel=1e-5)


def test_the_document_holds_what_its_figures_were_made_of(trained, tmp_path):
    result = measured(trained, tmp_path)
    document = json.loads(result.json_path.read_text())
    assert document["format_version"] == 2
    evidence = Evidence.from_dict(document["per_frame"])
    assert len(evidence.frames) == FRAMES
    assert np.isnan(evidence.measures[0].values[:3]).all()
    again = {(f.key, f.of, f.name): each for f, each in intervals(evidence).items()}
    for saved in document["intervals"]["figures"]:
        found = again[saved["measure"], saved["of"], saved["figure"]]
        for name in ("value", "low", "high"):
            assert getattr(found, name) == pytest.approx(saved[name], rel=1e-5)
    assert again["pixels", "all", "mean"].value == pytest.approx(document["overall"]["mean_px"], rel=1e-6)
    assert again["mask_iou", "all", "share"].value == pytest.approx(document["mask_iou"]["mean"])
    assert document["training"]["epochs"] in (1, 2)
    assert document["data"][0]["lines"] == FRAMES
    assert {"versions", "machine", "command", "seconds", "config", "notes"} <= document.keys()
    assert f"95 % intervals over {FRAMES} frames" in result.text


def test_the_page_shows_the_worst_first_and_as_many_as_asked(trained, tmp_path):
    few = measured(trained, tmp_path / "few", worst=2)
    page = few.html_path.read_text(encoding="utf-8")
    check_page(page)
    gallery = page.split('<div class="gallery">')[1].split("</section>")[0]
    assert gallery.count("<img") == 2
    values = np.array(json.loads(few.json_path.read_text())["per_frame"]["measures"][0]["values"], float)
    worst = np.sort(np.nan_to_num(values, nan=-1).max(1))[::-1]
    assert f"<b>{worst[0]:.1f} px at " in gallery
    assert gallery.index(f"{worst[0]:.1f} px at") < gallery.rindex(f"{worst[1]:.1f} px at")
    assert few.html_path.stat().st_size < 5_000_000
    none = measured(trained, tmp_path / "none", worst=0)
    assert 'class="gallery"' not in none.html_path.read_text(encoding="utf-8")


def test_hostile_names_of_points_stay_words(trained, tmp_path):
    config, run, folder = trained
    mappings = attrs.evolve(config.data_mappings, y=((f"B.{HOSTILE}", "B.end"),))
    root = write_recording(tmp_path / "data", 4)
    text = (root / "data.jsonl").read_text().replace('"tip"', json.dumps(HOSTILE))
    (root / "data.jsonl").write_text(text)
    named = attrs.evolve(config, data_mappings=mappings, validation=Validation(base_dir=(str(root),)))
    result = evaluate(named, model=str(run.checkpoint), output_dir=tmp_path / "out", checkpoint_root=folder)
    page = result.html_path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert escape(HOSTILE) in page
    assert "script" not in check_page(page)
    assert "Too few frames for intervals: 4, at least" in page


def test_a_run_compared_with_itself_is_the_same(trained, tmp_path):
    _, run, folder = trained
    measured(trained, tmp_path / "again")
    found = compare(run.run_dir.name, str(tmp_path / "again"), checkpoint_root=folder / "runs")
    assert found.paired
    assert {each["verdict"] for each in found.report["figures"]} == {"the same"}
    assert {each["delta"] for each in found.report["figures"]} == {0.0}
    assert not any(found.report["differences"].values())
    assert found.report["first"]["training_seconds"] >= 0
    assert found.html_path.parent == tmp_path / "again"
    check_page(found.html_path.read_text(encoding="utf-8"))
    json.dumps(found.report, allow_nan=False)


def test_evaluations_without_a_common_figure_are_no_comparison(trained, tmp_path):
    _, run, _ = trained
    text = (run.run_dir / "evaluation.json").read_text()
    document = json.loads(text)
    for measure in document["per_frame"]["measures"]:
        measure["columns"] = [f"other {name}" for name in measure["columns"]]
    document["per_frame"]["ratios"] = []
    (tmp_path / "evaluation.json").write_text(json.dumps(document))
    with pytest.raises(EvaluationError, match=r"nothing can be compared .*only one of them has"):
        compare(str(run.run_dir), str(tmp_path / "evaluation.json"))
    assert not list(tmp_path.glob("*.html"))


def test_two_networks_on_the_same_frames_are_told_apart_with_all_that_differs(trained, tmp_path):
    config, run, _ = trained
    options = attrs.evolve(OPTIONS, epochs=1, learning_rate=1e-9)
    other = train(config, options, checkpoint_root=tmp_path / "runs", log_dir=None)
    page = tmp_path / "page.html"
    found = compare(str(other.run_dir), str(run.run_dir / "evaluation.json"), output=page)
    assert found.paired
    assert found.report["differences"]["options of the training"] == ["epochs: 1 -> 2", "learning_rate: 1e-09 -> 0.003"]
    main = found.report["figures"][0]
    assert (main["of"], main["figure"]) == ("all", "mean")
    assert main["low"] <= main["delta"] <= main["high"]
    assert main["delta"] == pytest.approx(main["second"] - main["first"])
    assert main["verdict"] in found.text
    text = page.read_text(encoding="utf-8")
    check_page(text)
    assert "Validation errors" in text
    assert "options of the training: 2" in text


def test_other_frames_are_told_and_not_judged(trained, tmp_path):
    _, run, folder = trained
    measured(trained, tmp_path / "main", split="evaluation")
    found = compare(run.run_dir.name, str(tmp_path / "main"), checkpoint_root=folder / "runs")
    assert not found.paired
    assert "other split: validation and evaluation" in found.text
    assert {each["verdict"] for each in found.report["figures"]} == {""}
    assert all(each["low"] is None for each in found.report["figures"])
    assert "these metrics do not compare the networks" in found.html_path.read_text(encoding="utf-8")


def test_other_labels_of_the_same_frames_are_no_same_frames(trained, tmp_path):
    _, run, _ = trained
    shutil.copytree(run.run_dir, tmp_path / "other")
    path = tmp_path / "other" / "evaluation.json"
    path.write_text(path.read_text().replace('"labels_sha256": "', '"labels_sha256": "0'))
    found = compare(str(run.run_dir), str(path))
    assert found.report["reasons"] == ["evaluated data 'held_out': other labels"]


def test_a_damaged_evaluation_is_one_line(trained, tmp_path):
    _, run, _ = trained
    text = (run.run_dir / "evaluation.json").read_text()
    (tmp_path / "evaluation.json").write_text(text.replace('"frame":[0,', '"frame":[77,'))
    with pytest.raises(ArtifactError, match=r"damaged.*rows and frames of 'pixels' do not fit"):
        compare(str(run.run_dir), str(tmp_path))
    (tmp_path / "evaluation.json").write_text(text.replace('"frame":[0,', f'"frame":[{10**400},'))
    with pytest.raises(ArtifactError, match="an evaluation is damaged"):
        compare(str(run.run_dir), str(tmp_path))


@pytest.mark.parametrize("value", ["word", None, [], 10**400, float("nan")], ids=ascii)
def test_odd_values_in_a_history_are_left_out_of_its_curves(trained, tmp_path, value):
    _, run, _ = trained
    shutil.copytree(run.run_dir, tmp_path / "other")
    lines = [json.loads(line) for line in (tmp_path / "other" / "metrics.jsonl").read_text().splitlines()]
    odd = [{**line, "loss": value, "validation/error_mean_px": value, "odd": value} for line in lines]
    text = "".join(f"{json.dumps(line)}\n" for line in [*odd, {**lines[-1], "epoch": value}])
    (tmp_path / "other" / "metrics.jsonl").write_text(text)
    found = compare(str(run.run_dir), str(tmp_path / "other"))
    check_page(found.html_path.read_text(encoding="utf-8"))


def test_a_training_is_not_lost_for_want_of_a_report(tmp_path, caplog):
    config = tiny_config(tmp_path, validation=2)

    class InTheWay:
        """Puts a folder where the report would go."""

        def start(self, model, example):
            (next((tmp_path / "runs").iterdir()) / "report.html").mkdir()

        def step(self, event):
            pass

        epoch = flush = close = lambda *_: None

    options = attrs.evolve(OPTIONS, epochs=1)
    with caplog.at_level(logging.WARNING, "cogkp"):
        run = train(config, options, checkpoint_root=tmp_path / "runs", log_dir=None, sinks=[InTheWay()])
    assert run.report is None
    assert run.checkpoint.is_file()
    assert "no report was written" in caplog.text


def test_a_report_is_left_out_where_it_is_not_wanted_or_nothing_was_validated(tmp_path):
    config = tiny_config(tmp_path, validation=2)
    options = attrs.evolve(OPTIONS, epochs=1)
    unwanted = train(config, options, checkpoint_root=tmp_path / "runs", log_dir=None, report=False)
    alone = attrs.evolve(config, validation=Validation())
    unjudged = train(alone, options, checkpoint_root=tmp_path / "runs", log_dir=None)
    for run in (unwanted, unjudged):
        assert run.report is None
        assert not (run.run_dir / "report.html").exists()


def test_data_without_labels_says_why_there_is_nothing(trained, tmp_path):
    config, run, _ = trained
    root = write_recording(tmp_path / "bare", 3, labelled=False, masks=False)
    bare = attrs.evolve(
        config,
        validation=Validation(base_dir=(str(root),)),
        data_mappings=DataMappings(x=("B.image",), y=config.data_mappings.y, mask=config.data_mappings.mask),
    )
    with pytest.raises(EvaluationError, match="none of 3 images has a labelled point or a mask"):
        evaluate(bare, model=str(run.checkpoint), output_dir=tmp_path / "out")


def test_a_place_that_cannot_be_written_is_refused_before_the_work(trained, tmp_path):
    (tmp_path / "report").write_text("")
    watcher = Watcher()
    with pytest.raises(OutputError, match="report"):
        measured(trained, tmp_path / "report", progress=watcher)
    assert watcher.begun == []
