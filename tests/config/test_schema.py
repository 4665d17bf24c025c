import json
import random

import jsonschema
import pytest
from hypothesis import given, settings

from cogkp.config.fields import DOC, fields_of
from cogkp.config.keypoint.io import dump, template
from cogkp.config.keypoint.schema import json_schema
from cogkp.config.keypoint.spec import KeypointConfig
from tests.builders.configs import configs, damaged
from tests.config.test_round_trip import problems_of

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

BY_TYPE = ("unknown key", "wrong type", "wrong length", "unknown type", "missing type", "out of range")


def objects(schema):
    """Find every object schema inside a schema."""
    inner = list(schema.values()) if isinstance(schema, dict) else schema if isinstance(schema, list) else []
    mine = [schema] if isinstance(schema, dict) and schema.get("type") == "object" and "properties" in schema else []
    return mine + [found for value in inner for found in objects(value)]


def test_the_schema_is_a_schema_and_plain_json():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_template_is_valid():
    VALIDATOR.validate({"$schema": "./x.json", **template()})
    VALIDATOR.validate({})


@given(configs())
@settings(max_examples=60, deadline=None)
def test_what_is_a_configuration_is_valid(config):
    VALIDATOR.validate(json.loads(json.dumps(dump(config))))


def test_no_object_takes_unknown_keys_and_every_key_is_described():
    found = objects(SCHEMA)
    assert len(found) == 22
    for schema in found:
        assert schema["additionalProperties"] is False
        for name, part in schema["properties"].items():
            assert name == "type" or part["description"]
            assert name in ("type", "$schema") or "default" in part


def test_sentences_and_defaults_come_from_the_classes():
    for field in fields_of(KeypointConfig):
        assert SCHEMA["properties"][field.name]["description"] == field.metadata[DOC]
        assert SCHEMA["properties"][field.name]["default"] == template()[field.name]
    terms = SCHEMA["properties"]["loss_terms"]["properties"]
    assert terms["supervised_keypoint_loss"]["properties"]["weight"]["default"] == 1.0
    assert terms["triangulation_rigidity_loss"]["properties"]["weight"]["default"] == 0.0


@pytest.mark.parametrize(
    "document",
    [
        {"sampeling": {}},
        {"targets": {"sgementation": True}},
        {"augmentations": [{"type": "crp"}]},
        {"augmentations": [{}]},
        {"augmentations": [{"type": "crop", "marign": 0}]},
        {"augmentations": [{"type": "crop", "output_size": 100}]},
        {"augmentations": [{"type": "crop", "box": [0, 0, 1]}]},
        {"augmentations": [{"type": "affine", "scale": [1, 2, 3]}]},
        {"augmentations": [{"type": "blur", "probability": 1.5}]},
        {"data_mappings": {"x": "B.image"}},
        {"base_dir": 3},
        {"base_dir": [3]},
        {"prefix": "a/b"},
        {"sampling": {"samples_per_epoch": 0}},
        {"sampling": {"weights": [-1]}},
        {"num_segmentation_classes": True},
    ],
)
def test_both_refuse(document):
    assert not VALIDATOR.is_valid(document)
    assert any(problem.what in BY_TYPE for problem in problems_of(document))


@pytest.mark.parametrize("document", [{"base_dir": "a"}, {"validation": {"base_dir": "a"}}, {"base_dir": ["a", "b"]}])
def test_both_accept(document):
    VALIDATOR.validate(document)
    assert not problems_of(document)


def test_on_damaged_documents_the_schema_refuses_nothing_that_the_types_accept():
    random_ = random.Random(7)
    refused = 0
    for _ in range(600):
        document = damaged(template(), random_, times=random_.randint(1, 3))
        problems = problems_of(document)
        valid = VALIDATOR.is_valid(document)
        refused += not valid
        assert valid or problems
        assert not (valid and any(problem.what in ("unknown key", "unknown type") for problem in problems))
    assert refused > 100
