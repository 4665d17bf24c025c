"""A small network with the heads of the real ones, and what it takes to deploy it as an object-pose network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from cogkp.config.centerpose.spec import DatasetSpec
from cogkp.models.centerpose import CHANNELS, CenterPoseOutputs
from cogkp.tasks.base import ExportSpec, OutputSpec
from cogkp.tasks.centerpose.decode import DecodeRules, DecodingNetwork
from cogkp.tasks.centerpose.detections import DecodedObjects
from cogkp.tasks.centerpose.task import MAPS, OUTPUTS
from tests.builders.model_files import write_onnx

SIDE = 64
FOUND = 10


class StandIn(nn.Module):
    """Maps that are rough, as trained ones are."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Conv2d(3, 12, 4, stride=4)
        self.heads = nn.ModuleDict({name: nn.Conv2d(12, c, 3, padding=1) for name, c in CHANNELS.items()})
        for name, head in self.heads.items():
            nn.init.normal_(head.weight, 0, {"hm": 0.4, "hm_hp": 0.4, "hps": 0.4}.get(name, 0.1))
        nn.init.constant_(self.heads["wh"].bias, 12.0)

    def forward(self, image):
        return CenterPoseOutputs(**{name: head(torch.tanh(self.body(image))) for name, head in self.heads.items()})


class TinyObjects:
    """The part of a task that deployment needs."""

    def __init__(self, size_wh=(SIDE, SIDE)):
        self.size_wh = size_wh
        with torch.random.fork_rng(devices=[]):
            self.module = DecodingNetwork(StandIn(), DecodeRules(FOUND)).eval()

    def export_module(self):
        return self.module

    def export_spec(self, batch_size):
        width, height = self.size_wh
        data = DatasetSpec()
        return ExportSpec(
            inputs={"input": torch.zeros(batch_size, 3, height, width)},
            outputs=tuple(OutputSpec(name, *OUTPUTS[name]) for name in DecodedObjects._fields),
            facts={
                "family": "centerpose",
                "category": "carton",
                "input": {
                    "size_wh_px": [width, height],
                    "range": [-2.0, 2.0],
                    "mean": list(data.mean),
                    "std": list(data.std),
                },
                "stride_px": 4,
            },
            inner=tuple(OutputSpec(name, *MAPS[name]) for name in CenterPoseOutputs._fields),
        )


def tiny_objects_onnx(path: Path, batch_size: int | None = None, **task) -> Path:
    """Deploy the stand-in; batch None takes any."""
    return write_onnx(path, TinyObjects(**task), batch_size)
