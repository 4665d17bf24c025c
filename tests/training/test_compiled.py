"""A compiled network trains the plain one, under its names; without a compiler one line says how to go on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import attrs
import pytest
import torch

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.training.evaluator import evaluating, torch_predictor
from cogkp.training.learner import Learner
from cogkp.training.optim import build_optimizer
from cogkp.training.plan import plan_training
from cogkp.training.precision import Precision
from tests.builders.training import OPTIONS
from tests.training.test_grad_scaler import Flat, single
from tests.training.test_learner import MeanSquare

REPOSITORY = Path(__file__).parents[2]
PRECISION = Precision("fp32", torch.device("cpu"))

WITHOUT_COMPILER = """
    import sys
    from pathlib import Path
    import attrs
    from cogkp.errors import TrainingError
    from tests.builders.tiny_keypoints import tiny_config
    from tests.builders.training import OPTIONS, run_training

    root = Path(sys.argv[1])
    try:
        run_training(tiny_config(root), root, options=attrs.evolve(OPTIONS, compile=True))
    except TrainingError as error:
        print(error)
"""


def learner(*, compile: bool) -> Learner:
    torch.manual_seed(0)
    model = Flat()
    plan = plan_training(attrs.evolve(OPTIONS, compile=compile), frozenset(), None)
    return Learner(model, MeanSquare(), build_optimizer(model, 1e-2), plan, PRECISION, torch.zeros(1, 1, 4, 4))


def trained(one: Learner, steps: int) -> dict[str, torch.Tensor]:
    for _ in range(steps):
        assert one.compare(single()).finite
        one.update(1e-2)
    return {name: tensor.clone() for name, tensor in one.model.state_dict().items()}


@pytest.mark.slow
@pytest.mark.timeout(600)  # seconds of work for the compiler, but it may get a small share of a busy machine
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
def test_the_compiled_network_trains_the_plain_one_under_its_names():
    plain, fast = learner(compile=False), learner(compile=True)
    assert fast.network is not fast.model
    assert plain.network is plain.model
    expected, found = trained(plain, 3), trained(fast, 3)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(expected[name], found[name], atol=1e-5) for name in expected)

    state = fast.state(1, 0, {}, None, steps_taken=3)
    assert state.weights.keys() == expected.keys()
    further = learner(compile=False)
    further.model.load_state_dict(dict(state.weights))
    with evaluating(fast.model):
        seen = torch_predictor(fast.model, PRECISION)(single().image)
    with evaluating(further.model):
        same = torch_predictor(further.model, PRECISION)(single().image)
    assert torch.equal(seen.keypoints, same.keypoints)
    assert fast.model.training
    assert trained(fast, 1).keys() == expected.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_a_compiler_one_line_says_how_to_go_on(tmp_path):
    environment = {**os.environ, "CXX": "/nonexistent/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(WITHOUT_COMPILER), str(tmp_path)],
        cwd=REPOSITORY,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("the network cannot be compiled @ --compile: expected a C++ compiler on a CPU")
    assert "InvalidCxxCompiler" in line
    assert "Train without --compile" in line
    assert not any((tmp_path / "run").glob("*.pth"))


def test_checkpoints_from_before_the_option_go_on_without_it(tmp_path):
    from tests.builders.tiny_keypoints import tiny_config
    from tests.builders.training import run_training

    _, result = run_training(tiny_config(tmp_path), tmp_path, options=attrs.evolve(OPTIONS, epochs=1))
    saved = load_checkpoint(result.checkpoint)
    older = {name: value for name, value in saved.provenance.options.items() if name != "compile"}
    plan = plan_training(
        OPTIONS, frozenset(), attrs.evolve(saved, provenance=attrs.evolve(saved.provenance, options=older))
    )
    assert plan.options.compile is False
