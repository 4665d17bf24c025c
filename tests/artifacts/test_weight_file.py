"""Files of weights: where they are looked for, what is believed of them, and what is refused in one line."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import attrs
import pytest
import torch

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, TrainingState
from cogkp.artifacts.weight_file import find_weights, read_weights
from cogkp.errors import CheckpointError

PUBLISHED = "resnet18-f37072fd.pth"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which torch's hub keeps files of weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def filled_checkpoint() -> Checkpoint:
    weights = {"weight": torch.rand(3), "bias": torch.rand(1)}
    state = TrainingState(weights=weights, optimizer={}, schedule={}, rng={}, epoch=3, step=0, target_epochs=3)
    provenance = Provenance(config={}, options={}, points=("tip",), num_classes=None, data=("a",), run="r")
    return Checkpoint(state=state, provenance=provenance)


def said(caught: pytest.ExceptionInfo[CheckpointError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_cache_is_torchs_own(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / PUBLISHED).write_bytes(b"anything")
    assert find_weights("imagenet", PUBLISHED) == cache / PUBLISHED


def test_what_is_missing_in_the_cache_is_told_with_its_place(cache: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_weights("imagenet", PUBLISHED)
    assert f"Copy it to {cache / PUBLISHED}" in said(caught)
    assert "no such folder" in said(caught)
    cache.mkdir(parents=True)
    (cache / "resnet18-5c106cde.pth").touch()
    with pytest.raises(CheckpointError) as caught:
        find_weights("imagenet", PUBLISHED)
    assert "got resnet18-5c106cde.pth" in said(caught)


def test_a_missing_file_is_told_with_what_else_can_be_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'imagenet' for resnet18-f37072fd\.pth"):
        find_weights(str(tmp_path / "none.pth"), PUBLISHED)


def test_a_state_dict_is_read_without_its_gradients(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.rand(3))
    torch.save({"a": weight, "b": torch.zeros(2)}, tmp_path / "weights.pth")
    read = read_weights(tmp_path / "weights.pth")
    assert torch.equal(read.weights["a"], weight)
    assert not read.weights["a"].requires_grad


def test_files_of_the_format_before_torch_1_6_are_read(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3.0)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(tmp_path / "old.pth").weights["a"], torch.arange(3.0))


def test_the_digits_in_a_name_must_begin_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(2)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    true, false = tmp_path / f"net-{digest[:8]}.pth", tmp_path / PUBLISHED
    true.write_bytes(path.read_bytes())
    false.write_bytes(path.read_bytes())
    assert set(read_weights(true).weights) == {"a"}
    with pytest.raises(CheckpointError) as caught:
        read_weights(false)
    assert "begins with f37072fd" in said(caught)
    assert digest in said(caught)


def test_a_checkpoint_gives_its_average_where_it_has_one(tmp_path: Path) -> None:
    plain, path = filled_checkpoint(), tmp_path / "checkpoint_latest.pth"
    path.write_bytes(plain.to_bytes())
    read = read_weights(path)
    assert torch.equal(read.weights["weight"], plain.state.weights["weight"])
    average = {name: tensor + 1 for name, tensor in plain.state.weights.items()}
    averaged = Checkpoint(state=attrs.evolve(plain.state, average=average), provenance=plain.provenance)
    path.write_bytes(averaged.to_bytes())
    assert torch.equal(read_weights(path).weights["weight"], average["weight"])


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    content, path = filled_checkpoint().to_bytes(), tmp_path / "checkpoint_latest.pth"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(path)


@pytest.mark.parametrize("tenth", range(10))
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, tenth: int) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.rand(100)}, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * tenth // 10])
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(path) in said(caught)


class Payload:
    """Runs when it is unpickled by somebody careless."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.witness,)


def test_code_in_a_file_never_runs(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    torch.save({"a": torch.zeros(1), "b": Payload(witness)}, tmp_path / "zip.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Payload(witness)))
    for name in ("zip.pth", "raw.pth"):
        with pytest.raises(CheckpointError, match="Nothing in it was run"):
            read_weights(tmp_path / name)
    assert not witness.exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {}, {"epoch": 3}, {"model": {"a": torch.zeros(1)}}])
def test_what_holds_no_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_weights(tmp_path / "other.pth")
