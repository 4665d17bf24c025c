"""Names that files of others bring are names, never ways out."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.artifacts.runs import continue_run, home_of
from cogkp.errors import CheckpointError
from cogkp.files import is_plain_name, leads_out
from tests.artifacts.test_checkpoint import make_checkpoint

OUTWARDS = [
    "../victim",
    "../../../victim",
    "a/../../victim",
    "/victim",
    "..",
    ".",
    "a/b",
    "..\\victim",
    "C:\\x",
    "a\0b",
    "x" * 300,
    "é" * 200,
]


@pytest.mark.parametrize("run", OUTWARDS)
def test_a_checkpoint_whose_run_is_no_name_is_refused_in_one_line(tmp_path, run):
    made = make_checkpoint(nn.Linear(2, 3))
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(attrs.evolve(made, provenance=attrs.evolve(made.provenance, run=run)).to_bytes())
    with pytest.raises(
        CheckpointError, match=r"run is no name @ .*checkpoint\.pth: expected a folder's name"
    ) as caught:
        load_checkpoint(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("run", OUTWARDS)
def test_no_name_leads_a_training_out_of_its_root(tmp_path, run):
    (tmp_path / "victim").mkdir()
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "checkpoint_latest.pth").write_bytes(b"x")
    assert home_of(root / "checkpoint_latest.pth", run) == root
    assert continue_run(root / "checkpoint_latest.pth", run, root).path.parent == root


@given(st.text(st.sampled_from("ab./\\:\0 "), max_size=8))
def test_a_name_that_stays_inside_stays_inside(name):
    if not leads_out(name):
        root = Path("/folder/of/all")
        assert Path(name).is_absolute() is False
        assert root in [(root / name).resolve(), *(root / name).resolve().parents]
    if is_plain_name(name):
        assert (Path("folder") / name).parent == Path("folder")
