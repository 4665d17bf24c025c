"""Whatever a file holds, a reader reads it or refuses it with an error of the library, soon, and in bounded memory.

Each reader gets files of the corpus with seeded damage. ``COGKP_FUZZ_SEED`` chooses other damage and
``COGKP_FUZZ_SECONDS`` searches each reader for as long; without it the number of damaged files is fixed. A failure says
what is needed to see it again, and leaves the file in the test's folder.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from cogkp.artifacts.calibration_cache import read_calibration as read_ranges
from cogkp.artifacts.checkpoint import load_checkpoint, load_weights
from cogkp.artifacts.evaluations import read_evaluation
from cogkp.artifacts.manifest import read_manifest
from cogkp.artifacts.newest import newest_of
from cogkp.artifacts.run_record import training_seconds
from cogkp.artifacts.status import StatusLog
from cogkp.artifacts.weight_file import read_weights
from cogkp.config.centerpose.io import load_experiment
from cogkp.config.keypoint.io import load
from cogkp.config.keypoint.spec import DataMappings
from cogkp.data.boxes.reader import read_objectron
from cogkp.data.calibration import open_calibration, summarize
from cogkp.data.images import image_size, read_colour, read_grey, read_mask
from cogkp.data.keypoint.importers.deeplabcut import read_deeplabcut
from cogkp.data.keypoint.importers.stereo_pairs import read_stereo_pairs
from cogkp.data.keypoint.structured.reader import StructuredDataset
from cogkp.errors import CogkpError
from cogkp.inference.exported import described_onnx
from cogkp.training.history import lines_before
from cogkp.workflows.compare import compare
from tests.fuzz.mutations import damaged

CORPUS = Path(__file__).parent / "corpus"
SEED = int(os.environ.get("COGKP_FUZZ_SEED", "0"))
SECONDS = float(os.environ.get("COGKP_FUZZ_SECONDS", "0"))
MOST_SECONDS = 20.0
"""For one file, on a busy machine; the slowest takes a tenth of it."""
MOST_MIB = 1500
"""By which the process may grow over all files of one reader."""
UNITS = {"darwin": 2**20}.get(os.uname().sysname.lower(), 2**10)


def _overrides(path: Path) -> None:
    spec = path.parent / "spec.yaml"
    spec.write_text("results_dir: out\n", encoding="utf-8")
    load_experiment(spec, path.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n").split("\n"))


def _calibration(path: Path) -> None:
    calibration = open_calibration(path, size_wh=None)
    summarize(calibration.rig, unusable=[str(error) for error in calibration.unusable.values()]).text()
    calibration.select()


def _pair_of_files(path: Path) -> None:
    open_calibration(path.parent).select()


def _images(path: Path) -> None:
    size, grey, colour = image_size(path), read_grey(path), read_colour(path)
    assert grey.shape == colour.shape[:2] == size[::-1]
    assert np.isfinite(grey).all()
    if path.name == "grey.png":
        read_mask(path, size, num_classes=255)


def _checkpoint(path: Path) -> None:
    load_weights(load_checkpoint(path), nn.Linear(2, 1), str(path))
    read_weights(path)


def _comparison(path: Path) -> None:
    """Compare two evaluations, either way round, and read what their run left beside them."""
    sides = [str(path.parent / name) for name in ("first.json", "second.json")]
    for one, other in (sides, sides[::-1]):
        compare(one, other, output=path.parent / "page.html").summary()


def _index(folder: Path) -> None:
    mappings = DataMappings(x=("B.image",), y=(("B.tip", "B.end"),), valid="valid")
    StructuredDataset(folder).index(mappings)


READERS: dict[str, tuple[str, int, Callable[[Path], object]]] = {
    "config": ("config/*", 600, load),
    "spec": ("spec/*", 280, load_experiment),
    "override": ("override/*", 320, _overrides),
    "calibration": ("calibration/*", 1000, _calibration),
    "pair of files": ("calibration/ros_*", 200, _pair_of_files),
    "table": ("table/*", 320, lambda path: read_deeplabcut(path.parent)),
    "pairs": ("pairs/*", 240, lambda path: read_stereo_pairs(path.parent)),
    "lines": ("lines/*", 320, lambda path: _index(path.parent)),
    "box": ("box/*.json", 320, lambda path: read_objectron(path.parent)),
    "image": ("image/*", 600, _images),
    "checkpoint": ("checkpoint/*", 320, _checkpoint),
    "manifest": ("manifest/*.json", 320, lambda path: read_manifest(path.parent / "model.onnx")),
    "onnx": ("onnx/*", 320, described_onnx),
    "evaluation": ("evaluation/*", 320, read_evaluation),
    "ranges": ("ranges/*", 320, read_ranges),
    "run": ("run/*", 200, lambda path: training_seconds(path.parent)),
    "comparison": ("comparison/*", 80, _comparison),
    "latest": ("latest/*.json*", 200, lambda path: newest_of(path.parent.parent)),
    "status": ("status/*", 100, lambda path: StatusLog(path).write("RUNNING", "next")),
    "history": ("history/*", 200, lambda path: lines_before(path, (3, 0))),
}
"""Which files of the corpus a reader gets, how many times damaged, and what reads them."""


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The files of a reader, undamaged, with the images that labels name."""
    home = tmp_path / "files"
    shutil.copytree((CORPUS / READERS[request.getfixturevalue("name")][0]).parent, home)
    if home.joinpath("0.json").exists():
        shutil.copyfile(CORPUS / "image" / "grey.png", home / "0.png")
    elif request.getfixturevalue("name") in ("table", "pairs", "lines"):
        (home / "img").mkdir()
        for number in (0, 1):
            shutil.copyfile(CORPUS / "image" / "grey.png", home / "img" / f"{number}.png")
    return home


def _files(pattern: str) -> list[Path]:
    return sorted(path for path in CORPUS.glob(pattern) if path.is_file())


@pytest.mark.parametrize("name", READERS)
def test_the_corpus_itself_is_read(name: str, folder: Path) -> None:
    pattern, _, read = READERS[name]
    for path in _files(pattern):
        read(folder / path.name)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern, steps, read = READERS[name]
    files = _files(pattern)
    monkeypatch.chdir(folder)
    before, end = _peak(), time.monotonic() + SECONDS
    step = 0
    while step < steps or time.monotonic() < end:
        draw = random.Random(f"{SEED} {name} {step}")
        original = draw.choice(files)
        content = damaged(original.read_bytes(), original.suffix, draw)
        _judge(read, folder / original.name, content, f"COGKP_FUZZ_SEED={SEED}, {name}, step {step}")
        (folder / original.name).write_bytes(original.read_bytes())
        step += 1
    assert (_peak() - before) / 2**20 < MOST_MIB


def _judge(read: Callable[[Path], object], path: Path, content: bytes, where: str) -> None:
    path.write_bytes(content)
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read(path)
        except CogkpError:
            pass
        except Exception as error:
            raise AssertionError(f"{where}: {type(error).__name__}: {error} ({path})") from error
    assert time.monotonic() - start < MOST_SECONDS, where


def _peak() -> int:
    """Most memory the process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNITS
