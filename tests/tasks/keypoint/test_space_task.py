"""When the task judges space: with calibrated pairs, whatever its loss, and only when it is asked to measure."""

from __future__ import annotations

import attrs
import pytest

from cogkp.config.keypoint.spec import DataMappings, KeypointConfig, LossTerms, RigidityTerm, StereoPairing
from cogkp.data.keypoint.scene.render import calibration, stereo_head
from cogkp.errors import DataError, EvaluationError
from cogkp.files import write_json
from cogkp.models.keypoint import KeypointOutputs
from cogkp.tasks.keypoint.task import KeypointTask
from tests.builders.stereo_pairs import batch_of, outputs_of, tools


def stereo_config(tmp_path, **terms) -> KeypointConfig:
    path = tmp_path / "calibration.config.json"
    write_json(path, calibration(stereo_head()))
    mappings = DataMappings(
        x=("LL.image", "LR.image"), y=tuple(tuple(f"{c}.{p}" for p in ("tip", "turn")) for c in ("LL", "LR"))
    )
    return KeypointConfig(
        data_mappings=mappings,
        calibration_file=str(path),
        stereo_pairing=StereoPairing(enabled=True),
        loss_terms=LossTerms(**terms),
    )


def test_a_task_judges_space_whatever_its_loss_terms_and_only_segments_whose_points_exist(tmp_path):
    term = RigidityTerm(weight=0.0, segments=((1, 0, 1.5), (1, 2, 2.0)))
    task = KeypointTask(stereo_config(tmp_path, triangulation_rigidity_loss=term))
    batch, _ = batch_of(tools())
    two = attrs.evolve(batch, targets=type(batch.targets)(*(field[:, :2] for field in batch.targets)))
    metrics = task.metrics()
    metrics.update(KeypointOutputs(*(field[:, :2].detach() for field in outputs_of(batch))), two)
    assert [row.name for row in metrics.compute().space.segments] == ["turn-tip"]


@pytest.mark.parametrize(
    ("term", "judged"),
    [
        (RigidityTerm(), []),
        (RigidityTerm(weight=0.0, segments=((0, 1, 3.0),)), ["tip-turn"]),
        (RigidityTerm(weight=1.0), ["tip-turn"]),
    ],
)
def test_only_lengths_that_somebody_stands_for_are_judged(tmp_path, term, judged):
    task = KeypointTask(stereo_config(tmp_path, triangulation_rigidity_loss=term))
    assert [
        f"{task.codec.point_names[s.start]}-{task.codec.point_names[s.end]}" for s in task.metrics()._space.segments
    ] == judged
    assert RigidityTerm().segments == ((0, 1, 1.5), (1, 2, 2.0))  # the documented default stays


@pytest.mark.parametrize("change", [{"calibration_file": None}, {"stereo_pairing": StereoPairing()}])
def test_without_calibrated_pairs_nothing_is_said_of_space(tmp_path, change):
    task = KeypointTask(attrs.evolve(stereo_config(tmp_path), **change))
    assert task.metrics()._space is None
    with pytest.raises(EvaluationError, match="no lengths to report in millimetres"):
        task.metrics().in_millimetres(30.0)


def test_a_missing_calibration_is_refused_by_the_metrics_and_not_by_the_export(tmp_path):
    task = KeypointTask(attrs.evolve(stereo_config(tmp_path), calibration_file=str(tmp_path / "none.json")))
    assert task.export_spec(1).outputs
    with pytest.raises(DataError, match=r"none\.json"):
        task.metrics()
