from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from torch import nn

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, TrainingState, load_checkpoint, load_weights
from cogkp.artifacts.checksum import verified, with_checksum
from cogkp.artifacts.runs import RunFolder
from cogkp.errors import CheckpointError

REPOSITORY = Path(__file__).parents[2]


def make_checkpoint(model: nn.Module) -> Checkpoint:
    state = TrainingState(
        weights=dict(model.state_dict()),
        optimizer={"state": {}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999)}]},
        schedule={"base_rate": 0.1},
        rng={"python": (3, (1, 2), None)},
        epoch=3,
        step=1,
        target_epochs=10,
    )
    provenance = Provenance(
        config={"prefix": "tool"}, options={"epochs": 10}, points=("tip", "end"), num_classes=None, data=("a",), run="r"
    )
    return Checkpoint(state=state, provenance=provenance)


def folder(path: Path) -> RunFolder:
    (path / "run").mkdir()
    return RunFolder(path / "run", path)


@pytest.fixture
def saved(tmp_path) -> Path:
    return make_checkpoint(nn.Linear(2, 3)).save(folder(tmp_path))


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    model = nn.Linear(2, 3)
    before = make_checkpoint(model)
    after = load_checkpoint(before.save(folder(tmp_path)))
    assert attrs.asdict(after.provenance) == attrs.asdict(before.provenance)
    assert (after.state.epoch, after.state.step, after.state.target_epochs) == (3, 1, 10)
    assert after.state.rng == before.state.rng
    assert after.library == before.library
    assert not after.state.finished
    other = nn.Linear(2, 3)
    load_weights(after, other, "file")
    assert torch.equal(other.weight, model.weight)


@pytest.mark.parametrize("tenth", range(10))
def test_a_file_cut_off_anywhere_is_refused_by_name(saved, tenth):
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) * tenth // 10])
    with pytest.raises(CheckpointError, match=r"checkpoint_latest\.pth") as caught:
        load_checkpoint(saved)
    assert "\n" not in str(caught.value)


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("wrap", ["torch", "pickle"])
def test_a_malicious_pickle_is_never_run(tmp_path, wrap):
    trap = tmp_path / "exploded"
    path = tmp_path / "bomb.pth"
    content = {"kind": "cogkp checkpoint", "format": 1, "state": Bomb(trap)}
    if wrap == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match=r"bomb\.pth"):
        load_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [{"weights": {}}, [1, 2], torch.zeros(3), {"kind": "other", "format": 1}])
def test_a_foreign_file_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match="not a checkpoint of this library"):
        load_checkpoint(tmp_path / "foreign.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04", b"\x80\x02."])
def test_garbage_is_refused(tmp_path, content):
    (tmp_path / "garbage.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"garbage\.pth"):
        load_checkpoint(tmp_path / "garbage.pth")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)


def edited(path: Path, change) -> Path:
    content = torch.load(path, weights_only=True)
    change(content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(with_checksum(buffer.getvalue()))
    return path


@pytest.mark.parametrize("version", [99, 0, -1, "2", None])
def test_another_format_version_is_told_apart(saved, version):
    edited(saved, lambda content: content.update(format=version))
    with pytest.raises(CheckpointError, match=rf"another format version.*expected 1 to 5, got {version!r}") as caught:
        load_checkpoint(saved)
    assert "written by cogkp" in str(caught.value)


def as_third_format(content) -> None:
    content.update(format=3)
    del content["state"]["scaler"]


def as_second_format(content) -> None:
    as_third_format(content)
    content.update(format=2)
    for name in ("average", "averaged_steps"):
        del content["state"][name]


def as_first_format(content) -> None:
    as_second_format(content)
    content.update(format=1)
    for name in ("means", "best"):
        del content["state"][name]
    del content["provenance"]["fingerprint"]


@pytest.mark.parametrize("checked", [True, False])
def test_a_file_of_the_first_format_is_brought_up_to_date(saved, checked):
    edited(saved, as_first_format)
    if not checked:
        saved.write_bytes(verified(saved.read_bytes()))
    found = load_checkpoint(saved)
    assert (found.state.position, found.state.means, found.state.best) == ((3, 1), {}, None)
    assert found.provenance.fingerprint == {}


def test_a_file_of_the_second_format_has_no_average(saved):
    found = load_checkpoint(edited(saved, as_second_format)).state
    assert (found.position, found.average, found.averaged_steps) == ((3, 1), None, 0)
    assert found.learned is found.weights


def test_a_file_of_the_third_format_has_no_loss_scale(saved):
    found = load_checkpoint(edited(saved, as_third_format)).state
    assert (found.position, found.scaler) == ((3, 1), {})


def test_the_average_is_taken_where_it_is_asked_for(tmp_path):
    raw, mean = nn.Linear(2, 3), nn.Linear(2, 3)
    plain = make_checkpoint(raw)
    state = attrs.evolve(plain.state, average=dict(mean.state_dict()), averaged_steps=7)
    found = load_checkpoint(attrs.evolve(plain, state=state).save(folder(tmp_path)))
    assert found.state.averaged_steps == 7
    for averaged, wanted in ((False, raw), (True, mean)):
        model = nn.Linear(2, 3)
        load_weights(found, model, "file", averaged=averaged)
        assert torch.equal(model.weight, wanted.weight)


def test_an_average_of_another_shape_is_refused(tmp_path):
    plain = make_checkpoint(nn.Linear(2, 3))
    state = attrs.evolve(plain.state, average=dict(nn.Linear(2, 4).state_dict()))
    with pytest.raises(CheckpointError, match="does not fit this network"):
        load_weights(attrs.evolve(plain, state=state), nn.Linear(2, 3), "file", averaged=True)


def test_a_seal_that_was_lost_is_damage(saved):
    saved.write_bytes(verified(saved.read_bytes()))
    with pytest.raises(CheckpointError, match=r"damaged @ .*checkpoint_latest\.pth: got no checksum"):
        load_checkpoint(saved)


def test_every_flipped_bit_is_seen(saved):
    """All bits of the ends, where the archive and the checksum describe themselves, and a sample of those between."""
    whole = saved.read_bytes()
    ends = 8 * 110
    middle = np.random.default_rng(0).integers(ends, 8 * len(whole) - ends, 200)
    for bit in (*range(ends), *middle.tolist(), *range(8 * len(whole) - ends, 8 * len(whole))):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"checkpoint_latest\.pth"):
            load_checkpoint(saved)


def test_other_readers_take_the_file_with_checksum_for_what_it_is(saved):
    assert torch.load(saved, weights_only=True)["kind"] == "cogkp checkpoint"
    assert zipfile.ZipFile(saved).testzip() is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content["state"].pop("rng"), "missing rng"),
        (lambda content: content["state"].update(extra=1), "unknown extra"),
        (lambda content: content["state"].update(epoch="3"), "wrongly typed epoch"),
        (lambda content: content.pop("provenance"), "missing provenance"),
        (lambda content: content["provenance"].update(points="tip"), "wrongly typed points"),
    ],
)
def test_fields_are_strict(saved, change, said):
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(edited(saved, change))


def test_another_shape_is_explained_in_one_line_and_nothing_is_changed(saved):
    model = nn.Linear(2, 4)
    before = model.weight.clone()
    with pytest.raises(CheckpointError) as caught:
        load_weights(load_checkpoint(saved), model, str(saved))
    assert "weight has shape (3, 2) instead of (4, 2); 1 more differ in shape" in str(caught.value)
    assert "2 points (tip, end) and no mask" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.equal(model.weight, before)


def test_missing_and_unknown_tensors_are_explained(saved):
    with pytest.raises(CheckpointError, match=r"1 tensors unknown \(first: bias\)"):
        load_weights(load_checkpoint(saved), nn.Linear(2, 3, bias=False), str(saved))


def test_a_full_disk_leaves_the_old_checkpoint_valid(tmp_path):
    """The system's own limit on the size of a file stands for the full disk: writing fails half way."""
    path = make_checkpoint(nn.Linear(2, 3)).save(folder(tmp_path))
    before = path.read_bytes()
    script = f"""
        import resource
        from pathlib import Path
        from torch import nn
        from cogkp.artifacts.runs import RunFolder
        from cogkp.errors import OutputError
        from tests.artifacts.test_checkpoint import make_checkpoint
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            make_checkpoint(nn.Linear(500, 500)).save(RunFolder(Path({str(path.parent)!r}), Path({str(tmp_path)!r})))
        except OutputError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "cannot write" in done.stdout
    assert str(path.parent) in done.stdout
    assert path.read_bytes() == before
    assert load_checkpoint(path).state.epoch == 3
    assert load_checkpoint(tmp_path / path.name).state.epoch == 3
    assert sorted(file.name for file in path.parent.iterdir()) == ["checkpoint_000001_e3_s1.pth", path.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_explained(tmp_path):
    run = folder(tmp_path)
    run.path.chmod(0o500)
    with pytest.raises(Exception, match="no permission"):
        make_checkpoint(nn.Linear(2, 3)).save(run)
    run.path.chmod(0o700)
