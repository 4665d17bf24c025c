"""The reference page of the experiment file, generated from the sentences beside the fields.

``python -m cogkp.config.centerpose.reference > docs/centerpose-spec.md`` brings the page up to date.
"""

from __future__ import annotations

import sys

from cogkp.config.centerpose.schema import EXPERIMENT_SCHEMA_FILE
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.reference import sections

__all__ = ["experiment_markdown"]

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
| 5.2 to 7.0 | `encryption_key: ???`, an open value in `wandb` | has no effect, so nobody need give it |
| 5.5 and later | `train.gpu_ids`, `train.cudnn`, `evaluate.gpu_ids`, `wandb` | as below |
| latest schema | `train.checkpoint_interval_unit`, `gen_trt_engine.timing_cache`, `layers_precision` | as below |

Where this differs from the published page and schema, and why,
stands in [decision 0013](decisions/0013-experiment-spec.md).

This page is generated: `python -m cogkp.config.centerpose.reference > docs/centerpose-spec.md`.
"""


def experiment_markdown() -> str:
    """Return the reference page."""
    return INTRODUCTION + "".join(sections(CenterPoseConfig.default(), "", "The file"))


if __name__ == "__main__":
    sys.stdout.write(experiment_markdown())
