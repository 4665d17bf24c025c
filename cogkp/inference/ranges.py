"""Choose the quantization ranges of values inside a network, for INT8.

The magnitude that becomes the largest whole number is chosen for the least mean squared error of rounding: a few very
large numbers are cut off where this makes all the others finer.
Source: R. Banner, Y. Nahshan, D. Soudry, Post training 4-bit quantization of convolutional networks for
rapid-deployment, NeurIPS 2019, section 2.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cogkp.errors import ArtifactError
from cogkp.files import read_whole
from cogkp.inference.onnxruntime_runner import session_options
from cogkp.inference.runner import Array

BINS = 2048
CANDIDATES = 128
LEVELS = 127


class Magnitudes:
    """A histogram of magnitudes, in equal steps up to the largest one seen."""

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.float64] = np.zeros(BINS)
        self.top = 0.0

    def add(self, values: Array) -> None:
        """Add values of any shape; those that are not finite are left out."""
        found = np.abs(values[np.isfinite(values)])
        largest = float(found.max(initial=0.0))
        if self.top == 0.0:
            self.top = largest
        while largest > self.top:
            # Twice the reach at half the fineness: neighbours are counted together.
            self.counts = np.concatenate((self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2)))
            self.top *= 2.0
        if self.top > 0.0:
            self.counts += np.histogram(found, BINS, (0.0, self.top))[0]

    def best(self, levels: int = LEVELS) -> float:
        """Choose the magnitude that becomes the largest of so many whole numbers; 0 where all values were 0."""
        middles = (np.arange(BINS) + 0.5) * self.top / BINS
        reach = self.top * (1 + np.arange(CANDIDATES)) / CANDIDATES
        if self.top == 0.0:
            return 0.0
        errors = [self._error(middles, each / levels, levels) for each in reach]
        return float(reach[int(np.argmin(errors))])

    def _error(self, middles: npt.NDArray[np.float64], step: float, levels: int) -> float:
        """Squared error of rounding, summed; within a bin values are taken to lie evenly."""
        off = middles - np.clip(np.rint(middles / step), 0, levels) * step
        return float((self.counts * off**2).sum())


def largest_values(path: Path, names: Sequence[str], batches: Iterable[Array], *, threads: int = 1) -> dict[str, float]:
    """Run an ONNX file on images and choose the quantization range of values inside it.

    Returns by name a magnitude; 0 for a value that is always 0.

    Raises:
        ArtifactError: the file cannot be used.
    """
    session, entry = _session(path, names, threads)
    found = {name: Magnitudes() for name in names}
    for batch in batches:
        # An input of the network is no output of it: it is counted as it is.
        answers = session.run([name for name in names if name != entry], {entry: batch})
        inside = dict(zip((name for name in names if name != entry), answers, strict=True))
        for name in names:
            found[name].add(batch if name == entry else inside[name])
    return {name: each.best() for name, each in found.items()}


def _session(path: Path, names: Sequence[str], threads: int) -> tuple[Any, str]:
    import onnx
    import onnxruntime

    try:
        model = onnx.load_from_string(read_whole(path, None))
        put_out = {value.name for value in (*model.graph.output, *model.graph.input)}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in put_out)
        options, providers = session_options(path, threads), ["CPUExecutionProvider"]
        content = model.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except Exception as error:  # neither package's errors have a common base
        raise ArtifactError("ONNX file cannot be used", where=str(path), got=str(error).split("\n", 1)[0]) from error
    return session, session.get_inputs()[0].name
