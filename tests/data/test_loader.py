"""Batches: the same for any number of processes, startable anywhere, and faults arrive as the error they were."""

import pickle

import numpy as np
import pytest
import torch

from cogkp.config.keypoint.spec import Sampling, StereoPairing
from cogkp.config.torchrun import Launch
from cogkp.data.dataset import SingleViewDataset
from cogkp.data.keypoint.dataset import AugmentedKeypointDataset
from cogkp.data.loader import EpochSampler, build_loader
from cogkp.errors import CogkpError, ConfigError, DataError, ImageError, Problem
from tests.builders.discs import disc_config, disc_root, encode


def loaded(root, *, changes=None, **options):
    dataset = AugmentedKeypointDataset(disc_config(root, **(changes or {})), "train", encode)
    return build_loader(dataset, **{"batch_size": 4, "shuffle": True, "seed": 3} | options)


def assert_same(first, second):
    assert first.ids == second.ids
    for name in ("image", "source_to_crop", "source_size_wh", "pairs"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert all(torch.equal(a, b) for a, b in zip(first.targets, second.targets, strict=True))


@pytest.fixture
def root(tmp_path):
    return disc_root(tmp_path / "set", 7)


@pytest.mark.parametrize("paired", [False, True])
def test_the_number_of_processes_changes_no_bit(root, paired):
    changes = {"stereo_pairing": StereoPairing(enabled=paired)}
    alone, together = (loaded(root, changes=changes, num_workers=n) for n in (0, 2))
    for epoch in range(2):
        alone.set_epoch(epoch)
        together.set_epoch(epoch)
        batches = list(alone), list(together)
        assert len(batches[0]) == len(alone) == 4
        for first, second in zip(*batches, strict=True):
            assert_same(first, second)


def test_an_epoch_can_be_entered_at_any_batch(root):
    loader = loaded(root)
    loader.set_epoch(5)
    whole = list(loader)
    for start in range(len(whole) + 1):
        loader.set_epoch(5, start)
        rest = list(loader)
        assert len(rest) == len(whole) - start
        for first, second in zip(whole[start:], rest, strict=True):
            assert_same(first, second)


def test_each_epoch_takes_every_item_once_in_its_own_order(root):
    loader = loaded(root)
    orders = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        orders.append([name for batch in loader for name in batch.ids])
    assert sorted(orders[0]) == sorted(orders[1])
    assert len(set(orders[0])) == 14
    assert orders[0] != orders[1]


def test_unshuffled_items_keep_their_order_and_the_last_batch_is_kept(root):
    batches = list(loaded(root, shuffle=False, batch_size=4))
    assert [len(batch.ids) for batch in batches] == [4, 4, 4, 2]
    assert batches[0].ids == ("set:1 LL", "set:1 LR", "set:2 LL", "set:2 LR")
    assert batches[0].pairs.shape == (0, 2)


def test_stereo_lines_are_shuffled_and_their_halves_never(root):
    loader = loaded(root, changes={"stereo_pairing": StereoPairing(enabled=True)})
    batches = list(loader)
    assert [len(batch.ids) for batch in batches] == [4, 4, 4, 2]
    assert batches[0].pairs.tolist() == [[0, 1], [2, 3]]
    for batch in batches:
        for left, right in batch.pairs.tolist():
            assert batch.ids[left].replace("LL", "LR") == batch.ids[right]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_batch_that_would_cut_a_pair_is_refused(root, batch_size):
    with pytest.raises(DataError, match="even number"):
        loaded(root, changes={"stereo_pairing": StereoPairing(enabled=True)}, batch_size=batch_size)


def test_loading_leaves_the_global_generators_alone(root):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(loaded(root))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_image_arrives_as_the_error_it_was(root, tmp_path, num_workers):
    broken = tmp_path / "set" / "LR.image" / "000003.png"
    broken.write_bytes(b"not an image at all")
    with pytest.raises(ImageError) as caught:
        list(loaded(root, num_workers=num_workers))
    assert "\n" not in str(caught.value)
    assert caught.value.problem.where == str(broken)


@pytest.mark.parametrize(
    "error",
    [
        ImageError("bad", where="a.png", expected="b", got="c", hint="d"),
        DataError.listing([Problem("one"), Problem("two")]),
        ConfigError([Problem("one", "here"), Problem("two")]),
        CogkpError("plain"),
    ],
)
def test_errors_cross_process_borders_whole(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__


def test_weights_decide_how_often_items_are_drawn():
    sampler = EpochSampler(3, seed=1, weights=np.array([0.0, 0.25, 0.75]), num_samples=4000)
    order = sampler.order(0)
    assert len(sampler) == len(order) == 4000
    assert np.bincount(order, minlength=3) / 4000 == pytest.approx([0.0, 0.25, 0.75], abs=0.03)
    np.testing.assert_array_equal(order, EpochSampler(3, 1, True, sampler.weights, 4000).order(0))
    assert not np.array_equal(order, sampler.order(1))


def test_weighted_roots_fill_epochs_of_the_length_asked_for(root, tmp_path):
    other = disc_root(tmp_path / "other", 1)
    sampling = Sampling(enabled=True, weights=(0.0, 1.0), samples_per_epoch=6)
    dataset = AugmentedKeypointDataset(disc_config(root, other, sampling=sampling), "train", encode)
    names = [name for batch in build_loader(dataset, batch_size=5, shuffle=True) for name in batch.ids]
    assert len(names) == 12
    assert set(names) == {"other:1 LL", "other:1 LR"}


class Plain(SingleViewDataset):
    """A data set that knows nothing of epochs but the item's number."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, key):
        return self.dataset[key.item]


def test_any_data_set_of_items_can_be_loaded(root):
    dataset = AugmentedKeypointDataset(disc_config(root), "evaluation", encode)
    assert [len(batch.ids) for batch in build_loader(Plain(dataset), batch_size=8)] == [8, 6]


def of_ranks(root, ranks, **options):
    return [loaded(root, launch=Launch(rank, ranks, rank), **options) for rank in range(ranks)]


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_ranks_together_hold_the_batches_of_one_process(root, paired, ranks):
    """Bit for bit, in its order, with its augmentation; the 14 images make uneven last batches of 8."""
    changes = {"stereo_pairing": StereoPairing(enabled=paired)}
    options = {"changes": changes, "batch_size": 8}
    whole, parts = loaded(root, **options), of_ranks(root, ranks, **options)
    assert {len(part) for part in parts} == {len(whole)}
    for loader in (whole, *parts):
        loader.set_epoch(2, 0)
    for batch, shared in zip(whole, zip(*parts, strict=True), strict=True):
        if shared[0].repeated:
            assert len(batch.ids) // (2 if paired else 1) < ranks
            for part in shared:
                assert_same(batch, part)
            continue
        assert torch.equal(torch.cat([part.image for part in shared]), batch.image)
        assert sum((part.ids for part in shared), ()) == batch.ids
        assert all(len(part.pairs) * 2 == len(part.ids) for part in shared) or not paired
        sizes = [len(part.ids) for part in shared]
        assert max(sizes) - min(sizes) <= (2 if paired else 1)
        assert min(sizes) > 0


def test_only_a_batch_with_fewer_items_than_ranks_is_repeated(root):
    loaders = of_ranks(root, 4, changes={"stereo_pairing": StereoPairing(enabled=True)}, batch_size=8)
    assert [[batch.repeated for batch in loader] for loader in loaders] == [[False, True]] * 4
    for loader in loaders:
        loader.set_epoch(0, 1)
    assert [[batch.repeated for batch in loader] for loader in loaders] == [[True]] * 4


@pytest.mark.parametrize(("ranks", "parts"), [(2, 2), (2, 3), (3, 2), (2, 9)])
def test_the_parts_of_all_ranks_together_are_the_parts_of_the_batch(root, ranks, parts):
    size = 6 * ranks
    shared = of_ranks(root, ranks, batch_size=size, parts=parts)
    for batch, own in zip(loaded(root, batch_size=size), zip(*shared, strict=True), strict=True):
        if own[0].repeated:
            continue
        count = min(parts, len(batch.ids) // ranks)
        assert count == min(parts, *(len(part.ids) for part in own))
        pieces = zip(*(part.parts(count) for part in own), strict=True)
        joined = [sum((part.ids for part in piece), ()) for piece in pieces]
        assert joined == [piece.ids for piece in batch.parts(count)]


@pytest.mark.parametrize("ranks", [1, 2, 3, 20])
def test_the_ranks_share_one_pass_over_all_items_in_order(root, ranks):
    size = 4 * ranks
    parts = of_ranks(root, ranks, shuffle=False, batch_size=size)
    ids = [name for part in parts for batch in part for name in batch.ids]
    assert ids == [name for batch in loaded(root, shuffle=False) for name in batch.ids]
    assert len(ids) == len(set(ids)) == 14


@pytest.mark.parametrize(("paired", "batch_size", "multiple"), [(False, 5, 2), (True, 6, 4), (True, 2, 4)])
def test_a_batch_that_cannot_be_shared_equally_is_refused(root, paired, batch_size, multiple):
    changes = {"stereo_pairing": StereoPairing(enabled=paired)}
    with pytest.raises(
        DataError, match=f"shared equally by 2 ranks.*expected a multiple of {multiple}, got {batch_size}"
    ):
        loaded(root, changes=changes, batch_size=batch_size, launch=Launch(1, 2, 1))
