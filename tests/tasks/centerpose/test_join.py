"""The codec takes the labels of the data room as they are."""

import numpy as np
import pytest
import torch

from cogkp.data.boxes.dataset import ObjectDataset
from cogkp.data.boxes.view import BoxInput
from cogkp.data.sample import collate
from cogkp.tasks.centerpose.codec import CenterPoseCodec
from cogkp.tasks.centerpose.decode import DecodeRules
from cogkp.tasks.centerpose.metrics import CenterPoseMetrics
from cogkp.tasks.centerpose.targets import TargetRules
from tests.builders.box_files import annotation, box, write, write_set
from tests.builders.perfect_maps import perfect_maps

SIDE = 256
CODEC = CenterPoseCodec(TargetRules(side=SIDE), DecodeRules(20))


@pytest.mark.parametrize("symmetry", [1, 4])
def test_annotated_pictures_are_encoded_decoded_and_judged(tmp_path, symmetry):
    data = ObjectDataset(
        [write_set(tmp_path)], "evaluation", CODEC.encode, view=BoxInput(side=SIDE), num_symmetry=symmetry
    )
    batch = collate([data[k] for k in range(len(data))])
    assert tuple(batch.targets.objects.ind.shape) == (3, symmetry, CODEC.targets.max_objs)
    assert batch.targets.objects.taught[:, :, 0].all()
    first = torch.zeros_like(batch.targets.objects.ind[:, 0])
    metrics = CenterPoseMetrics(CODEC)
    metrics.update(perfect_maps(batch.targets.objects.pick(first), CODEC.targets.cells), batch)
    report = metrics.compute()
    assert report.objects == 3
    assert report.reference.mean["iou"] > 0.97
    assert report.scalars()["3DIoU"] == 1.0
    assert np.isfinite(batch.targets.truth.ground.numpy()).all()


def test_pictures_may_have_any_number_of_objects(tmp_path):
    """The first of them are taught, all are judged, beside images that have fewer."""
    write_set(tmp_path, 1)
    write(tmp_path, "many", annotation(boxes=40 * [box(0)]))
    data = ObjectDataset([tmp_path], "evaluation", CODEC.encode, view=BoxInput(side=SIDE))
    batch = collate([data[0], data[1]])
    assert batch.targets.truth.labelled.sum(1).tolist() == [1, 40]
    assert batch.targets.objects.taught.sum((1, 2)).tolist() == [1, CODEC.targets.max_objs]
    first = torch.zeros_like(batch.targets.objects.ind[:, 0])
    metrics = CenterPoseMetrics(CODEC)
    metrics.update(perfect_maps(batch.targets.objects.pick(first), CODEC.targets.cells), batch)
    assert metrics.compute().objects == 41
