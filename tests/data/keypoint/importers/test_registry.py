"""An import is complete or absent, and what it writes can be trained on at once."""

import json

import cv2
import numpy as np
import pytest

from cogkp.data.keypoint.importers.registry import IMPORTERS, import_dataset
from cogkp.data.keypoint.structured import read_lines
from cogkp.errors import DataError, OutputError
from tests.builders.shared_data import shared


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    rows = ["scorer,A,A", "bodyparts,nose,nose", "coords,x,y"]
    for index in range(10):
        cv2.imwrite(str(folder / f"img{index}.png"), np.full((6, 8), index, np.uint8))
        rows.append(f"img{index}.png,{index},{index / 2}")
    (folder / "CollectedData.csv").write_text("\n".join(rows))
    return folder


def everything_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_both_parts_and_a_configuration_are_written(source, tmp_path):
    result = import_dataset(source, tmp_path / "out", format="deeplabcut", validation=0.2)

    assert result.counts == {"train": 8, "validation": 2}
    config = json.loads(result.config.read_text())
    assert config["base_dir"] == [(tmp_path / "out/train").as_posix()]
    assert config["validation"]["base_dir"] == [(tmp_path / "out/validation").as_posix()]
    lines = [line.content for root in (result.train, result.validation) for line in read_lines(root)]
    assert sorted(line["points"]["nose"][0] for line in lines) == list(range(10))


def test_pictures_are_copied_byte_for_byte(source, tmp_path):
    result = import_dataset(source, tmp_path / "out", format="deeplabcut")
    for line in read_lines(result.train):
        original = source / line.content["source"]
        assert (result.train / line.content["image"]).read_bytes() == original.read_bytes()


def test_the_seed_decides_the_split(source, tmp_path):
    def validation_of(name, seed):
        result = import_dataset(source, tmp_path / name, format="deeplabcut", validation=0.3, seed=seed)
        return [line.content["source"] for line in read_lines(result.validation)]

    assert validation_of("a", 0) == validation_of("b", 0)
    assert validation_of("a2", 0) != validation_of("c", 1)


def test_nothing_is_set_aside_where_nothing_was_asked(source, tmp_path):
    result = import_dataset(source, tmp_path / "out", format="deeplabcut", validation=0.0)
    assert result.validation is None
    assert json.loads(result.config.read_text())["validation"] == {"base_dir": []}
    assert not (tmp_path / "out/validation").exists()


def test_relative_destinations_stay_relative_in_the_configuration(source, tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    result = import_dataset(source, Path("data/mouse"), format="deeplabcut")
    assert json.loads(result.config.read_text())["base_dir"] == ["data/mouse/train"]


def test_the_source_is_only_read(source, tmp_path):
    before = {name: (source / name).read_bytes() for name in everything_below(source)}
    import_dataset(source, tmp_path / "out", format="deeplabcut")
    assert {name: (source / name).read_bytes() for name in everything_below(source)} == before


def test_a_destination_inside_the_source_is_fine(source):
    result = import_dataset(source, source / "imported", format="deeplabcut")
    assert result.counts["train"] == 9


def test_a_wrong_source_leaves_nothing_behind(source, tmp_path):
    (source / "img3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"CollectedData\.csv:7"):
        import_dataset(source, tmp_path / "out", format="deeplabcut")
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


def test_a_failure_while_writing_leaves_nothing_behind(source, tmp_path):
    class Impatient:
        def work(self, label, total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset(source, tmp_path / "out", format="deeplabcut", progress=Impatient())
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


def test_a_destination_that_holds_anything_is_left_alone(source, tmp_path):
    destination = tmp_path / "out"
    destination.mkdir()
    (destination / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        import_dataset(source, destination, format="deeplabcut")
    assert everything_below(destination) == ["notes.txt"]


def test_an_empty_destination_is_used(source, tmp_path):
    (tmp_path / "out").mkdir()
    assert import_dataset(source, tmp_path / "out", format="deeplabcut").train.is_dir()


def test_a_destination_below_a_file_is_refused(source, tmp_path):
    with pytest.raises(OutputError):
        import_dataset(source, source / "img0.png" / "out", format="deeplabcut")


def test_unknown_formats_are_answered_with_the_nearest(source, tmp_path):
    with pytest.raises(DataError, match="'deeplabcut'"):
        import_dataset(source, tmp_path / "out", format="deeplabcuts")


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_out_of_range_are_refused(source, tmp_path, share):
    with pytest.raises(DataError, match="share"):
        import_dataset(source, tmp_path / "out", format="deeplabcut", validation=share)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "format", "train", "validation"),
    [
        ("mirror-mouse", "lightning-pose", 81, 9),
        ("openfield", "deeplabcut", 105, 11),
        ("adapter-stereo", "stereo-pairs", 305, 95),
    ],
)
def test_real_sets_divide_as_documented(tmp_path, name, format, train, validation):
    assert format in IMPORTERS
    result = import_dataset(shared(name), tmp_path / name, format=format)
    assert result.counts == {"train": train, "validation": validation}
    assert len(read_lines(result.train)) == train
    assert len(read_lines(result.validation)) == validation
    calibration = json.loads(result.config.read_text()).get("calibration_file")
    assert (calibration is not None) == (name == "adapter-stereo")
