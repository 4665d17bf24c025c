"""What a configuration hardly means is said by the verb that it matters to, before any data is read."""

from cogkp.config.augment import Crop, Flip
from cogkp.config.keypoint.spec import DataMappings, KeypointConfig
from cogkp.training.distributed import Ranks
from cogkp.workflows.adapter import ExportRequest
from cogkp.workflows.families.keypoint import ADAPTER
from cogkp.workflows.training_job import TrainingRequest

CONFIG = KeypointConfig(
    data_mappings=DataMappings(y=(("B.left_ear", "B.right_ear"),)),
    augmentations=(Crop(output_size=64, region="points"), Flip()),
)


def test_a_training_says_that_a_flip_keeps_left_and_right(caplog):
    ADAPTER.training(CONFIG, TrainingRequest(), Ranks())
    assert "left_ear and right_ear not swapped" in caplog.text
    assert "[[0, 1]]" in caplog.text
    assert "needs a box" not in caplog.text


def test_an_export_says_once_that_the_model_needs_a_box_at_run_time(caplog, tmp_path):
    with ADAPTER.export(CONFIG, ExportRequest(untrained=True, models_root=tmp_path)):
        pass
    assert caplog.text.count("the deployed model needs a box at run time") == 1
    assert all(flag in caplog.text for flag in ("--boxes", "--locator", "--track"))
    assert "left_ear" not in caplog.text
