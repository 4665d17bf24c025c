import json
import logging
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings

from cogkp.config.keypoint.io import config_hash, differences, dump, structure, template
from cogkp.config.keypoint.rules import check
from cogkp.config.keypoint.spec import KeypointConfig, LossTerm, LossTerms
from cogkp.errors import ConfigError
from tests.builders.configs import JUNK, UNSPEAKABLE, configs, damaged


@given(configs())
@settings(max_examples=150, deadline=None)
def test_writing_and_reading_gives_the_same_configuration(config):
    text = json.dumps(dump(config))
    again = structure(json.loads(text))
    assert again == config
    assert json.dumps(dump(again)) == text
    assert config_hash(again) == config_hash(config)
    assert differences(config, again) == []
    assert check(config) == []


@given(configs(), configs())
@settings(max_examples=50, deadline=None)
def test_hash_and_differences_agree_on_equality(a, b):
    assert (a == b) == (config_hash(a) == config_hash(b)) == (differences(a, b) == [])


@pytest.mark.parametrize("seed", range(4))
def test_damaged_documents_are_refused_with_paths_or_survive_a_round_trip(seed, caplog):
    caplog.set_level(logging.ERROR, "cogkp")
    random_ = random.Random(seed)
    stereo = {
        **template(),
        "base_dir": ["a", "b"],
        "data_mappings": {"x": ["LL.image", "LR.image"], "y": [["LL.a", "LL.b"], ["LR.a", "LR.b"]]},
        "stereo_pairing": {"enabled": True},
        "calibration_file": "rig.json",
        "sampling": {"weights": [1, 2.5]},
    }
    refused = 0
    for i in range(1000):
        document = damaged((template(), stereo)[i % 2], random_, times=random_.randint(1, 5), junk=JUNK + UNSPEAKABLE)
        before = repr_of(document)
        problems = problems_of(document)
        refused += bool(problems)
        for problem in problems:
            assert problem.where
            assert problem.what
            assert "\n" not in str(problem)
            assert len(str(problem)) < 600
        assert repr_of(document) == before
    assert 300 < refused < 1000


def problems_of(document):
    """Return what is wrong, after a round trip where nothing is."""
    try:
        config = structure(document)
    except ConfigError as error:
        return error.problems
    assert structure(dump(config)) == config
    return ()


def repr_of(document):
    """Integers of thousands of digits have no repr; their type is enough to see a change."""
    if isinstance(document, dict):
        return [(key, repr_of(value)) for key, value in document.items()]
    if isinstance(document, list):
        return [repr_of(value) for value in document]
    return (type(document), document.bit_length()) if isinstance(document, int) else repr(document)


def test_equal_values_of_other_spelling_hash_alike():
    a = structure({"loss_terms": {"supervised_keypoint_loss": {"weight": 2}}})
    b = KeypointConfig(loss_terms=LossTerms(supervised_keypoint_loss=LossTerm(weight=2)))
    assert a == b
    assert config_hash(a) == config_hash(b)
    assert type(a.loss_terms.supervised_keypoint_loss.weight) is float


def test_hash_is_the_same_in_another_process():
    code = (
        "from cogkp.config.keypoint.io import config_hash; from cogkp.config.keypoint.spec import KeypointConfig;"
        "print(config_hash(KeypointConfig()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == config_hash(KeypointConfig())
    assert len(done.stdout.strip()) == 64


def test_differences_name_path_and_both_values():
    new = structure(
        {
            "base_dir": ["a"],
            "loss_terms": {"supervised_keypoint_loss": {"weight": 0.5}},
            "augmentations": [{"type": "crop", "output_size": 128}],
        }
    )
    lines = differences(KeypointConfig(), new)
    assert 'base_dir: [] -> ["a"]' in lines
    assert "loss_terms.supervised_keypoint_loss.weight: 1.0 -> 0.5" in lines
    assert len(lines) == 3
    same_length = structure({"augmentations": [{**template()["augmentations"][0], "output_size": 64}]})
    other = structure({"augmentations": [template()["augmentations"][0]]})
    assert differences(other, same_length) == ["augmentations[0].output_size: 256 -> 64"]


def test_checking_a_file_loads_nothing_heavy():
    code = (
        "import sys, cogkp.config.keypoint.io, cogkp.config.schema;"
        "print([name for name in ('torch', 'numpy', 'cv2', 'onnx', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
