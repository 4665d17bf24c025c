"""Two processes evaluate and predict as one does: same figures, same files, one line where one of them fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest
from cogkp_cli.failures import FAILED

from cogkp.artifacts.checkpoint import Provenance
from cogkp.config.centerpose.io import write_experiment
from cogkp.config.keypoint.io import dump
from cogkp.files import write_json
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from tests.builders.experiment_model import save_checkpoint, with_section
from tests.builders.model_files import write_checkpoint
from tests.builders.processes import S6, start
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.tiny_keypoints import tiny_config

IMAGES = 7
UNLIKELY = 1e-6  # an untrained network finds nothing that is likely
TORCHRUN = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2"]
VOLATILE = ("command", "created", "seconds")
PROMPT_S = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # a minute of work, but it may get a small share of a busy machine
    pytest.mark.skipif(sys.platform != "linux", reason="torchrun with gloo is used on Linux"),
]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """An experiment and its checkpoint, for batches of two: of four, the second rank has the two last ones."""
    folder = tmp_path_factory.mktemp("experiment")
    config = tiny_experiment(folder, pictures=IMAGES, width=0.125)
    config = attrs.evolve(config, dataset=attrs.evolve(config.dataset, batch_size=2))
    config = attrs.evolve(config, dataset=attrs.evolve(config.dataset, inference_data=config.dataset.test_data))
    config = with_section(config, "inference", visualization_threshold=UNLIKELY)
    model = str(save_checkpoint(config, folder / "model.pth"))
    config = with_section(config, "evaluate", checkpoint=model)
    return with_section(config, "inference", checkpoint=model)


def run(folder: Path, *words: object, ranks: int, **more: str) -> subprocess.CompletedProcess[str]:
    before = [*TORCHRUN, "--no-python"] if ranks > 1 else []
    env = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    command = [*before, str(S6), "cog", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def both(folder: Path, experiment, verb: str) -> tuple[Path, Path]:
    """The results of one process and of two."""
    places = [folder / "one", folder / "two"]
    for ranks, place in enumerate(places, 1):
        spec = write_experiment(folder / f"{ranks}.yaml", attrs.evolve(experiment, results_dir=str(place)))
        done = run(folder, "centerpose", verb, "-e", spec, ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote") >= 1
    return places[0] / verb, places[1] / verb


def files_of(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def document(content: bytes) -> dict:
    found = json.loads(content)
    return {key: value for key, value in found.items() if key not in VOLATILE}


def statuses(content: bytes) -> list[tuple]:
    lines = map(json.loads, content.decode().splitlines())
    return [(line["status"], line["message"], line.get("kpi")) for line in lines]


def assert_same(one: Path, two: Path, *, but: tuple[str, ...]) -> None:
    ours, theirs = files_of(one), files_of(two)
    assert sorted(ours) == sorted(theirs)
    assert [name for name, content in ours.items() if name not in but and content != theirs[name]] == []


def test_two_ranks_evaluate_an_experiment_as_one_process_does(experiment, tmp_path):
    one, two = both(tmp_path, experiment, "evaluate")
    assert_same(one, two, but=("evaluation.json", "report.html", "experiment.yaml", "status.json"))
    ours, theirs = ({name: (place / name).read_bytes() for name in files_of(place)} for place in (one, two))
    found, wanted = (document(files["evaluation.json"]) for files in (theirs, ours))
    assert found.pop("config_sha256") != wanted.pop("config_sha256")  # the folder of the results is another one
    assert found.pop("config")["evaluate"] == wanted.pop("config")["evaluate"]
    assert found == wanted
    assert len(found["per_frame"]["frames"]) == IMAGES
    assert statuses(theirs["status.json"]) == statuses(ours["status.json"])


def test_two_ranks_look_at_images_as_one_process_does(experiment, tmp_path):
    one, two = both(tmp_path, experiment, "inference")
    assert_same(one, two, but=("experiment.yaml", "status.json"))
    assert len(list(two.glob("*.jpg"))) == IMAGES
    assert any(json.loads(path.read_text())["objects"] for path in two.glob("0*.json"))
    last = statuses((two / "status.json").read_bytes())
    assert last == statuses((one / "status.json").read_bytes())
    assert last[-1][2]["pictures"] == IMAGES


def test_two_ranks_evaluate_keypoints_as_one_process_does(tmp_path):
    config = tiny_config(tmp_path / "data")
    write_json(tmp_path / "config.json", dump(config))
    seed_everything(0)
    about = Provenance(config=dump(config), options={}, points=config.point_names, num_classes=None, data=())
    model = write_checkpoint(tmp_path / "model.pth", build_task(config).model.state_dict(), about, epoch=0)
    for ranks, name in enumerate(("one", "two"), 1):
        words = ("evaluate", "-c", "config.json", "--model", model, "-b", 3, "-w", 0, "--output", name)
        done = run(tmp_path, *words, ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("evaluation.json") == 1
    assert_same(tmp_path / "one", tmp_path / "two", but=("evaluation.json", "report.html"))
    found, wanted = (document((tmp_path / name / "evaluation.json").read_bytes()) for name in ("two", "one"))
    assert found == wanted


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error:")]


def test_an_image_that_one_rank_cannot_read_ends_both_with_one_line(experiment, tmp_path):
    spec = attrs.evolve(experiment, results_dir=str(tmp_path / "out"))
    broken = max(Path(experiment.dataset.test_data).rglob("*.jpg"))
    content = broken.read_bytes()
    broken.write_bytes(content[:100])
    try:
        written = write_experiment(tmp_path / "spec.yaml", spec)
        done = run(tmp_path, "centerpose", "evaluate", "-e", written, ranks=2)
    finally:
        broken.write_bytes(content)
    assert (done.returncode, done.stdout) == (FAILED, "")
    (line,) = errors(done.stderr)
    assert str(broken) in line
    assert not (tmp_path / "out" / "evaluate" / "evaluation.json").exists()
    status, message, _ = statuses((tmp_path / "out" / "evaluate" / "status.json").read_bytes())[-1]
    assert (status, str(broken) in message) == ("FAILURE", True)


def test_a_result_that_the_second_rank_cannot_write_ends_both_with_one_line(experiment, tmp_path):
    """What the first one has written stays, and the status says what was wrong."""
    place = tmp_path / "out" / "inference"
    last = max(Path(experiment.dataset.test_data).rglob("*.jpg")).stem
    (place / f"{last}.json").mkdir(parents=True)
    written = write_experiment(tmp_path / "spec.yaml", attrs.evolve(experiment, results_dir=str(tmp_path / "out")))
    done = run(tmp_path, "centerpose", "inference", "-e", written, ranks=2)
    assert (done.returncode, done.stdout) == (FAILED, "")
    (line,) = errors(done.stderr)
    assert f"{last}.json" in line
    assert (place / "00000.json").is_file()
    status, message, _ = statuses((place / "status.json").read_bytes())[-1]
    assert (status, f"{last}.json" in message) == ("FAILURE", True)


def test_a_mistake_is_told_once(experiment, tmp_path):
    spec = with_section(experiment, "evaluate", checkpoint=str(tmp_path / "none.pth"))
    written = write_experiment(tmp_path / "spec.yaml", attrs.evolve(spec, results_dir=str(tmp_path / "out")))
    done = run(tmp_path, "centerpose", "evaluate", "-e", written, ranks=2)
    assert done.returncode == FAILED
    assert len(errors(done.stderr)) == 1
    assert "none.pth" in done.stderr


def test_ctrl_c_ends_both_with_one_line(experiment, tmp_path):
    """The word reaches all processes of a terminal's foreground, torchrun and both ranks."""
    images = tmp_path / "many"
    images.mkdir()
    source = min(Path(experiment.dataset.test_data).rglob("*.jpg"))
    for index in range(3000):
        for suffix in (".jpg", ".json"):
            (images / f"{index:04d}{suffix}").symlink_to(source.with_suffix(suffix))
    spec = attrs.evolve(experiment, results_dir=str(tmp_path / "out"))
    spec = attrs.evolve(spec, dataset=attrs.evolve(spec.dataset, inference_data=str(images)))
    written = write_experiment(tmp_path / "spec.yaml", spec)
    words = [*TORCHRUN, "--no-python", str(S6), "cog", "centerpose", "inference", "-e", str(written)]
    process = start(words, tmp_path)
    place, end = tmp_path / "out" / "inference", time.monotonic() + 1200
    while not (list(place.glob("00*.jpg")) and list(place.glob("2*.jpg"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    begun = time.monotonic()
    _, err = process.communicate(timeout=PROMPT_S)
    assert process.returncode != 0
    assert time.monotonic() - begun < PROMPT_S
    assert err.splitlines().count("interrupted") == 1
    assert errors(err) == []
    assert statuses((place / "status.json").read_bytes())[-1][:2] == ("FAILURE", "inference was interrupted")
    assert all(json.loads(path.read_text()) for path in place.glob("[0-9]*.json"))
