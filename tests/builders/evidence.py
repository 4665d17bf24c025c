"""Evidence of made-up evaluations."""

from __future__ import annotations

import numpy as np

from cogkp.measures.evidence import Evidence, Measure, Ratio

POINTS = ("tip", "end")


def measure(values, frame=None, **changes) -> Measure:
    values = np.asarray(values, float)
    facts = {
        "key": "pixels",
        "title": "Distance in the image",
        "unit": "px",
        "columns": POINTS[: values.shape[1]],
        "frame": np.arange(len(values)) if frame is None else np.asarray(frame, np.int64),
        "values": values,
        "thresholds": (2.0, 5.0),
    }
    return Measure(**facts | changes)


def evidence(seed=0, frames=40, scale=1.0, hardness=0.0, missing=0.1) -> Evidence:
    """Errors of two points in images that are hard or easy for both, some of them without labels, and masks."""
    generator = np.random.default_rng(seed)
    easy = np.random.default_rng(99).gamma(2.0, hardness, (frames, 1)) if hardness else 0.0
    values = scale * generator.gamma(2.0, 1.0, (frames, len(POINTS))) + easy
    values[np.random.default_rng(5).random(values.shape) < missing] = np.nan
    whole = generator.integers(1, 50, (frames, 3)).astype(float)
    part = np.floor(whole * generator.random(whole.shape))
    whole[:, 2] = part[:, 2] = 0.0
    names = tuple(f"frame {n}" for n in range(frames))
    masks = Ratio(
        key="mask_iou",
        title="Mask IoU",
        columns=("a", "b", "c"),
        frame=np.arange(frames),
        part=part,
        whole=whole,
    )
    return Evidence(names, (measure(values),), (masks,))
