"""What is written reads back; template, schema and page show every field."""

import json
import logging
import random
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings

from cogkp.config.centerpose.io import (
    dump_experiment,
    load_experiment,
    structure_experiment,
    write_experiment,
    write_experiment_template,
)
from cogkp.config.centerpose.rules import check
from cogkp.config.centerpose.schema import EXPERIMENT_SCHEMA_FILE, experiment_markdown, experiment_schema
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.fields import DOC, fields_of
from cogkp.errors import ConfigError, OutputError
from tests.builders.configs import JUNK, damaged
from tests.builders.experiments import experiments

PAGE = Path(__file__).parents[3] / "docs" / "centerpose-spec.md"
VALIDATOR = jsonschema.Draft202012Validator(experiment_schema())
DEFAULTS = dump_experiment(CenterPoseConfig.default())


@given(experiments())
@settings(max_examples=30, deadline=None)
def test_a_spec_is_the_same_after_writing_and_reading(tmp_path_factory, spec):
    assert check(spec) == []
    path = write_experiment(tmp_path_factory.mktemp("specs") / "experiment.yaml", spec)
    again = load_experiment(path)
    assert again == spec
    assert write_experiment(path.with_name("again.yaml"), again).read_bytes() == path.read_bytes()


@given(experiments())
@settings(max_examples=20, deadline=None)
def test_the_schema_accepts_what_is_written(spec):
    VALIDATOR.validate(json.loads(json.dumps(dump_experiment(spec))))


def test_on_damaged_documents_the_schema_refuses_nothing_that_the_types_accept(caplog):
    caplog.set_level(logging.ERROR, "cogkp")
    random_ = random.Random(3)
    refused = 0
    for _ in range(200):
        document = damaged(DEFAULTS, random_, times=random_.randint(1, 3), junk=JUNK)
        wrong = problems_of(document)
        valid = VALIDATOR.is_valid(document)
        refused += not valid
        assert valid or wrong
        for problem in wrong:
            assert problem.where.endswith("spec")
            assert "\n" not in str(problem)
    assert refused > 50


def problems_of(document):
    before = json.dumps(document)
    try:
        spec = structure_experiment(document)
    except ConfigError as error:
        assert json.dumps(document) == before
        return error.problems
    assert structure_experiment(dump_experiment(spec)) == spec
    return ()


class TestTemplate:
    def test_holds_the_defaults_with_a_sentence_above_each(self, tmp_path):
        path = write_experiment_template(tmp_path / "new" / "spec.yaml")
        assert load_experiment(path) == CenterPoseConfig.default()
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0] == f"# yaml-language-server: $schema=./{EXPERIMENT_SCHEMA_FILE}"
        words = " ".join(line.strip().removeprefix("# ") for line in lines)
        for sentence, key in sentences(CenterPoseConfig):
            assert f"{sentence} {key}:" in words
        assert max(map(len, lines)) <= 140

    def test_its_pointer_reaches_the_schema(self, tmp_path):
        write_experiment_template(tmp_path / "spec.yaml")
        assert json.loads((tmp_path / EXPERIMENT_SCHEMA_FILE).read_text()) == experiment_schema()

    def test_overwrites_nothing(self, tmp_path):
        (tmp_path / "spec.yaml").write_text("mine")
        with pytest.raises(OutputError, match="will not overwrite"):
            write_experiment_template(tmp_path / "spec.yaml")
        assert [entry.name for entry in tmp_path.iterdir()] == ["spec.yaml"]


def sentences(cls):
    for field in fields_of(cls):
        yield field.metadata[DOC], field.name
        if hasattr(field.type, "__attrs_attrs__"):
            yield from sentences(field.type)


def test_the_schema_is_a_schema_with_every_sentence():
    jsonschema.Draft202012Validator.check_schema(experiment_schema())
    text = json.dumps(experiment_schema())
    for sentence, key in sentences(CenterPoseConfig):
        assert json.dumps(sentence) in text
        assert f'"{key}": ' in text
    VALIDATOR.validate(DEFAULTS)
    VALIDATOR.validate({})


class TestPage:
    def test_is_what_is_generated(self):
        assert PAGE.read_text(encoding="utf-8") == experiment_markdown(), (
            "run: python -m cogkp.config.centerpose.schema > docs/centerpose-spec.md"
        )

    def test_has_a_row_for_every_field(self):
        page = experiment_markdown()
        for sentence, key in sentences(CenterPoseConfig):
            (row, *_) = [line for line in page.splitlines() if line.startswith(f"| `{key}`") and sentence in line]
            assert row.count(" | ") == 3

    def test_shows_overrides_that_are_read(self):
        page = experiment_markdown()
        shown = ["train.gpu_ids=[0,1]", "train.optim={lr: 1e-4, lr_steps: [30]}", "dataset.category='my cup'"]
        assert all(f"`{override}`" in page for override in shown)


def test_reading_a_spec_loads_nothing_heavy(tmp_path):
    path = write_experiment_template(tmp_path / "spec.yaml")
    code = (
        f"import sys, cogkp; cogkp.load_config({str(path)!r});"
        "print([name for name in ('torch', 'numpy', 'cv2', 'onnx', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
