"""A third family, as small as one can be: the place of one bright dot, by direct regression. All images are drawn."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from torch import nn

from cogkp.data.dataset import SingleViewDataset
from cogkp.data.sample import Encoded, Sample
from cogkp.families import Family
from cogkp.geometry.warp import ImageWarp
from cogkp.inference.processor import Prepared
from cogkp.measures.evidence import Evidence, Measure
from cogkp.tasks.base import ExportSpec, LossReport, Marks, OutputSpec
from cogkp.workflows.adapter import Adapter

SIDE = 16


@attrs.frozen
class DotConfig:
    train: int = 24
    validation: int = 6


class Outputs(NamedTuple):
    uv: Any


class Dots(SingleViewDataset):
    """Item i of a split is the image that its number draws."""

    def __init__(self, count: int, first: int) -> None:
        self.count, self.first = count, first
        self.size_report, self.fingerprint = (
            SimpleNamespace(labelled={"dot": count}),
            [{"root": f"dots {first}", "images": count}],
        )

    __len__ = lambda self: self.count

    def __getitem__(self, key):
        item = key if isinstance(key, int) else key[2]
        uv = np.random.default_rng(self.first + item).uniform(3, SIDE - 4, 2)
        image = np.exp(-((np.stack(np.meshgrid(*[np.arange(SIDE)] * 2), -1) - uv) ** 2).sum(-1) / 8)[None]
        sample = Sample(image.astype(np.float32), uv, ImageWarp.identity(), (SIDE, SIDE), f"dot {item}")
        return (Encoded(sample, Outputs(uv[None].astype(np.float32))),)


class Net(nn.Sequential):
    def forward(self, image):
        return Outputs(super().forward(image).reshape(-1, 1, 2) + SIDE / 2)


@attrs.frozen(eq=False)
class Found:
    uv: Any
    image: Any
    confidence = np.ones(1)
    box = lambda self, names, least: None
    draw = lambda self: np.repeat((self.image[..., None] * 255).astype(np.uint8), 3, -1)
    to_dict = lambda self: {"uv": self.uv.tolist()}


class Errors:
    """The metrics, and the report of them."""

    tables = curves = notes = lambda self: ()

    def __init__(self) -> None:
        self.ids, self.errors = (), np.zeros((0, 1))

    def update(self, outputs, batch) -> None:
        self.ids += batch.ids
        self.errors = np.vstack([self.errors, (outputs.uv - batch.targets.uv).norm(dim=-1).numpy()])

    compute = lambda self: self
    scalars = lambda self: {"error_mean_px": self.error()}
    error = lambda self: float(self.errors.mean())
    headline = text = lambda self: f"mean error {self.error():.3g} px"
    to_dict = lambda self: {"images": len(self.ids)}

    @property
    def evidence(self):
        columns, rows = ("dot",), np.arange(len(self.ids))
        error = Measure(key="error", title="Error", unit="px", columns=columns, frame=rows, values=self.errors)
        return Evidence(self.ids, (error,))


class Dot:
    """The task, its codec, its loss, and the processor of its model files."""

    names = ("dot",)
    asks_where = False
    beside = lambda self, image: {}

    def __init__(self, config=None, where="") -> None:
        self.config, self.codec, self.loss = config, self, self
        self.model = Net(nn.Flatten(), nn.Linear(SIDE * SIDE, 32), nn.ReLU(), nn.Linear(32, 2))

    def datasets(self, split):
        return Dots(self.config.validation, 1000) if split == "validation" else Dots(self.config.train, 0)

    def __call__(self, outputs, batch):
        total = (outputs.uv - batch.targets.uv).square().mean()
        return LossReport(total, {"squared": total}, {"squared": 1.0})

    metrics = lambda self, thresholds_px=(): Errors()
    describe = lambda self: "loss: squared distance"
    export_module = lambda self: self.model.eval()
    check = lambda self, takes, gives: None
    display_image = lambda self, image: image[0].numpy()
    truth_marks = lambda self, batch: self.prediction_marks(batch.targets)

    def prediction_marks(self, outputs):
        return [Marks(uv, np.ones(1, bool), self.names) for uv in outputs.uv.detach().numpy()]

    def export_spec(self, batch_size):
        facts = {"family": "dots", "points": {"names": ["dot"]}, "input": {"range": [0.0, 1.0]}}
        return ExportSpec({"input": torch.zeros(batch_size, 1, SIDE, SIDE)}, (OutputSpec("uv", "px", 1e-3),), facts)

    def prepare(self, image) -> Prepared:
        return Prepared(image[None].astype(np.float32), np.eye(3), (SIDE, SIDE), image)

    def predictions(self, outputs, prepared):
        return [Found(uv, each.input[0]) for uv, each in zip(outputs["uv"], prepared, strict=True)]


class DotAdapter(Adapter):
    structure = lambda self, plain: DotConfig(**plain["dots"])
    dump = lambda self, config: {"dots": attrs.asdict(config)}
    splits = lambda self, config: {"train": "dots.train", "validation": "dots.validation"}
    points = lambda self, config: Dot.names


def read_config(path, overrides=(), verb=None):
    return ADAPTER.structure(json.loads(Path(path).read_text()))


ADAPTER = DotAdapter()
PARTS = {
    "config_class": "DotConfig",
    "read_config": "read_config",
    "task": "Dot",
    "adapter": "ADAPTER",
    "processor": "Dot",
}
DOTS = Family("dots", (".dots",), "dots", **{part: f"{__name__}:{name}" for part, name in PARTS.items()})
