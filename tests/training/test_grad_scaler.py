"""float16 gradients: scaled on the way, true where they are used, left out where they do not fit."""

from __future__ import annotations

import attrs
import pytest
import torch
from torch import nn

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.errors import CheckpointError
from cogkp.training.learner import Learner, not_finite
from cogkp.training.optim import WeightAverage, build_optimizer
from cogkp.training.plan import plan_training
from cogkp.training.precision import MOST_SKIPPED, LossScale, Precision
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, run_training
from tests.training.test_learner import Guess, MeanSquare, batch_of
from tests.training.test_trainer import Stopper

CPU = torch.device("cpu")


class Flat(nn.Module):
    """A network whose answers, and so its gradients, can be made large."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.body = nn.Linear(16, 2)

    def forward(self, image):
        return Guess(self.gain * self.body(image.float().flatten(1)).float())


def learner(precision: str, *, gain: float = 1.0, **options) -> Learner:
    torch.manual_seed(0)
    model = Flat(gain)
    plan = plan_training(attrs.evolve(OPTIONS, **options), frozenset(), None)
    return Learner(
        model,
        MeanSquare(),
        build_optimizer(model, 1e-2),
        plan,
        Precision(precision, CPU),
        torch.zeros(1, 1, 4, 4),
        WeightAverage(model, 0.9),
    )


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().clone() for tensor in model.state_dict().values()])


def single(size: int = 4):
    batch = batch_of(size)
    return attrs.evolve(batch, image=batch.image.float(), targets=type(batch.targets)(batch.targets.uv.float()))


def test_gradients_are_those_of_fp32_up_to_rounding_and_clipped_after_they_are_unscaled():
    exact, scaled = (learner(name, gain=0.5, clip_norm=0.5) for name in ("fp32", "fp16"))
    expected, found = exact.compare(single()), scaled.compare(single())
    assert scaled.scaling.state()["scale"] == 65536.0
    assert found.gradient_norm == pytest.approx(expected.gradient_norm, rel=5e-3)
    assert found.gradient_norm > 0.5
    gradient = torch.cat([parameter.grad.flatten() for parameter in scaled.model.parameters()])
    assert float(gradient.norm()) == pytest.approx(0.5, rel=1e-4)
    assert torch.allclose(gradient, torch.cat([p.grad.flatten() for p in exact.model.parameters()]), atol=5e-3)


def test_a_gradient_beyond_float16_changes_nothing_and_halves_the_scale_until_it_fits():
    one = learner("fp16", gain=10.0)
    before, scales, skipped = weights(one.model), [], []
    while not skipped or skipped[-1]:
        assert torch.equal(weights(one.model), before)
        assert torch.equal(weights(one.average.model), before)
        scales.append(one.scaling.state()["scale"])
        comparison = one.compare(single())
        assert comparison.finite
        skipped.append(comparison.skipped)
        one.update(1e-2)
    assert skipped[:-1] == list(range(1, len(skipped)))
    assert len(skipped) > 2
    assert scales == [65536.0 / 2**number for number in range(len(scales))]
    assert one.average.steps == 1
    assert not torch.equal(weights(one.model), before)
    assert float(one.optimizer.state_dict()["state"][0]["step"]) == 1


def test_a_gradient_that_never_fits_ends_with_the_way_out():
    one = learner("fp16")
    one.model.body.weight.register_hook(lambda gradient: gradient * float("inf"))
    for number in range(1, MOST_SKIPPED + 1):
        comparison = one.compare(single())
        assert (comparison.finite, comparison.skipped) == (True, number)
        one.update(1e-2)
    assert one.scaling.state()["scale"] < 1.0
    last = one.compare(single())
    assert not last.finite
    error = str(not_finite(last, single(), "epoch 1, step 21", None))
    assert "beyond float16 in each of 21 steps" in error
    assert "train with bf16 or fp32" in error


@pytest.mark.parametrize(("precision", "poisoned"), [("fp32", "gradient"), ("bf16", "gradient"), ("fp16", "loss")])
def test_what_no_scale_can_mend_is_not_skipped(precision, poisoned):
    one = learner(precision, gain=float("nan") if poisoned == "loss" else 1.0)
    one.model.body.weight.register_hook(lambda gradient: gradient * float("inf"))
    comparison = one.compare(single())
    assert (comparison.skipped, comparison.finite) == (0, False)


def test_outside_of_fp16_there_is_no_scale():
    scaling = LossScale(Precision("bf16", CPU))
    loss = torch.tensor(3.0)
    assert scaling.scale(loss) is loss
    assert scaling.state() == {}
    scaling.restore({"scale": 8.0, "skipped": 0})
    assert scaling.state() == {}


def test_a_state_comes_back_and_a_missing_one_begins_anew():
    first, second = learner("fp16", gain=300.0), LossScale(Precision("fp16", CPU))
    for _ in range(2):
        first.compare(single())
        first.update(1e-2)
    second.restore({})
    assert second.state()["scale"] == 65536.0
    second.restore(first.scaling.state())
    assert second.state() == first.scaling.state()
    assert second.state()["skipped"] == 2
    assert second.scale(torch.tensor(1.0)).item() == 16384.0


@pytest.mark.slow
def test_an_fp16_training_is_resumed_exactly(tmp_path):
    config = tiny_config(tmp_path)
    options = attrs.evolve(OPTIONS, precision="fp16", epochs=2, ema_decay=0.9)
    _, done = run_training(config, tmp_path / "whole", options=options)
    _, part = run_training(config, tmp_path / "parts", options=options, sinks=[Stopper(3)])
    _, rest = run_training(config, tmp_path / "parts", restored=load_checkpoint(part.checkpoint))
    whole, resumed = (load_checkpoint(one.checkpoint).state for one in (done, rest))
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)
    assert whole.scaler == resumed.scaler
    assert whole.scaler != LossScale(Precision("fp16", CPU)).state()


def test_a_damaged_state_is_refused(tmp_path):
    _, result = run_training(tiny_config(tmp_path), tmp_path, options=attrs.evolve(OPTIONS, epochs=1))
    saved = load_checkpoint(result.checkpoint)
    broken = attrs.evolve(saved, state=attrs.evolve(saved.state, scaler={"scale": 2.0}))
    with pytest.raises(CheckpointError, match="does not fit"):
        run_training(
            tiny_config(tmp_path / "second"),
            tmp_path,
            options=attrs.evolve(OPTIONS, precision="fp16"),
            given=frozenset({"precision", "epochs"}),
            restored=broken,
        )
