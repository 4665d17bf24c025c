"""The JSON schema and the reference page of the experiment file.

``python -m cogkp.config.centerpose.schema > docs/centerpose-spec.md`` brings the page up to date.
"""

import sys
from typing import Any

from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.schema import DRAFT, object_schema, sections
from cogkp.files import MARK

EXPERIMENT_SCHEMA_FILE = "cogkp-centerpose.schema.json"

# Any value may be left open, or stand for another one.
STAND_IN = {"type": "string", "pattern": r"^\?\?\?$|\$\{[^${}]*\}"}
EMPTY = {"const": ""}  # serves as null
OUTSIDE = ("description", "default")

INTRODUCTION = f"""\
# Experiment spec of CenterPose

One YAML file in UTF-8 describes one CenterPose experiment: data, network, training, and what is done with the result.
It is the file of `tao model centerpose`; its sections, keys and defaults are those of the published page.
Every key may be left out; then its default holds.

```python
import cogkp

spec = cogkp.load_config("bike.yaml", ["train.num_epochs=40", "dataset.batch_size=32"], verb="train")
cogkp.write_template("new.yaml")  # every key with its default and a sentence
```

The template points editors to `{EXPERIMENT_SCHEMA_FILE}`, which is written beside it.

**Values.** Words are read as YAML reads them, except that `6e-05` is a number and `010`, `1:30` and dates are text.
Nothing is turned into another type, except that an integer serves as a number.
Words of a closed list may be written in any case, and the empty text serves as `null` where a path is meant.
Anchors work; tags, merge keys (`<<`) and several documents in one file do not.

**Values that stand for others.** `${{train.num_epochs}}` is the value of that key, `${{.lr}}` that of a key beside it,
and each further dot starts one level further out.
`"${{results_dir}}/best"` joins text; `\\${{` is a plain `${{`.
Words with a colon, which would fetch values from outside the file, are refused.

**Values left open.** `???` says that somebody must still give the value.
Only what a verb reads is demanded, and everything missing is reported at once.

**Overrides.** Each is `section.key=value`: `train.gpu_ids=[0,1]`, `train.optim={{lr: 1e-4, lr_steps: [30]}}`,
`train.resume_training_checkpoint_path=null`, `dataset.category='my cup'`.
Objects are joined with what the file says, all else replaces it.
`+key`, `~key`, sweeps and functions are refused.

**Mistakes.** Unknown keys are refused with the nearest known name.
All mistakes of file and overrides are reported at once, one line each, with file and line.

**Where results go.** A verb writes to `<verb>.results_dir`, or where that is null to `results_dir/<verb>`:
the resolved spec as `experiment.yaml`, its progress as JSON lines in `status.json`, and its results.
Nothing is ever sent anywhere.

**Files of other releases.** The examples of all published releases of the toolkit are read:

| release | key | here |
|---|---|---|
| 5.2, 5.3 | `train.randomseed` | another name of `train.seed` |
| 5.2 to 7.0, page of `gen_trt_engine` | `input_channel`, `input_width`, `input_height` | compared with the ONNX file |
| 5.5, schema of `gen_trt_engine` | `opset_version` | no effect but a warning |
| 5.2, 5.3 | `train.loss_config.dimension_ref: null` | the same as the empty text, as in `wandb` |
| latest schema | `layers_precision: null`, `cal_image_dir: null` | the same as the empty list |
| 5.2 to 7.0 | `encryption_key: ???`, an open value in `wandb` | has no effect, so nobody need give it |
| 5.5 and later | `train.gpu_ids`, `train.cudnn`, `evaluate.gpu_ids`, `wandb` | as below |
| latest schema | `train.checkpoint_interval_unit`, `gen_trt_engine.timing_cache`, `layers_precision` | as below |

Where this differs from the published page and schema, and why,
stands in [decision 0013](decisions/0013-experiment-spec.md).

This page is generated: `python -m cogkp.config.centerpose.schema > docs/centerpose-spec.md`.
"""


def experiment_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the CenterPose family's experiment spec."""
    root = _with_stand_ins(object_schema(CenterPoseConfig.default()))
    return {"$schema": DRAFT, "$comment": MARK, "title": "cogkp CenterPose experiment", **root}


def _with_stand_ins(schema: dict[str, Any]) -> dict[str, Any]:
    """Allow each value below an object to be open or to stand for another."""
    properties = {name: _property(part) for name, part in schema["properties"].items()}
    return {**schema, "properties": properties}


def _property(schema: dict[str, Any]) -> dict[str, Any]:
    outside = {key: schema[key] for key in OUTSIDE}
    inside = {key: part for key, part in schema.items() if key not in OUTSIDE}
    return {"anyOf": [_value(inside), STAND_IN], **outside}


def _value(schema: dict[str, Any]) -> dict[str, Any]:
    if "properties" in schema:
        return _with_stand_ins(schema)
    if "anyOf" in schema and "type" not in schema:
        parts = [_value(part) for part in schema["anyOf"]]
        return {**schema, "anyOf": [*parts, EMPTY] if {"type": "null"} in parts else parts}
    if "items" in schema:
        places = {"prefixItems": [_item(part) for part in schema["prefixItems"]]} if "prefixItems" in schema else {}
        items = {"items": _item(schema["items"])} if schema["items"] else {}
        return {**schema, **items, **places}
    return _in_any_case(schema)


def _item(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [_value(schema), STAND_IN]}


def _in_any_case(schema: dict[str, Any]) -> dict[str, Any]:
    """Let words of a closed list be written in any case."""
    if "enum" not in schema:
        return schema
    words = "|".join("".join(map(_either_case, word)) for word in schema["enum"])
    return {"type": "string", "pattern": f"^({words})$"}


def _either_case(letter: str) -> str:
    return f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else letter


def experiment_markdown() -> str:
    """Return the reference page."""
    return INTRODUCTION + "".join(sections(CenterPoseConfig.default(), "", "The file"))


if __name__ == "__main__":
    sys.stdout.write(experiment_markdown())
