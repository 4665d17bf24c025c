"""A trained model that can be asked about an image: a checkpoint, an ONNX file or an engine.

The file says what it is, so that no configuration is needed. An ONNX file is opened and asked without torch.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Union, overload

import numpy as np
import numpy.typing as npt

from cogkp.data.images import (
    UPRIGHT,
    ImageFile,
    Levels,
    as_image,
    counted_values,
    faint,
    misfit,
    noted_orientation,
    read_image,
    stretched,
    tell_orientations,
    value_range,
)
from cogkp.errors import ArtifactError, CheckpointError, ConfigError, ModelError, closest
from cogkp.families import Family, family_named, family_of
from cogkp.inference.exported import ENGINE_SUFFIXES, ONNX_SUFFIX, image_reading, infer_rows, open_exported
from cogkp.inference.processor import Prediction, Prepared, Processor, Shapes
from cogkp.inference.runner import Runner

if TYPE_CHECKING:
    from cogkp.geometry.rig import CameraRig
    from cogkp.inference.views import ViewRig, ViewsPrediction

log = logging.getLogger("cogkp")

ImageLike = npt.NDArray[Any] | str | os.PathLike[str]
ModelLike = Union["Model", str, os.PathLike[str]]
"""An open model, or the file of one."""

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt")
NEWEST = "*_latest.pth"
TRAINING_IMAGES = "training_images"
"""Where a model's facts say what most of its training images were like."""
MUCH_DARKER = 8.0
"""One image may be so many times darker than the range of the training before there is a warning."""
GROUP = 16
"""Images that pass together through a model which takes any number."""


def load(path: str | os.PathLike[str], *, threads: int = 0, fixed_buffers: bool = False, **known: Any) -> Model:
    """Open a trained model; the file itself says what it is.

    Args:
        path: a checkpoint (``.pth``), the folder of a run, an ONNX file (``.onnx``), or an engine (``.trt``,
            ``.engine``, ``.plan``) with its manifest beside it. An ONNX file needs no torch.
        threads: of ONNX Runtime; 0 leaves the choice to it.
        fixed_buffers: of an ONNX file or an engine: keep the memory of inputs and outputs between calls, one set for
            each number of images, and on an NVIDIA GPU record the work as a CUDA graph where that can be done. Such a
            model is asked by one thread at a time.
        known: what a file of an older version does not say of itself; a warning or an error names it.

    Returns:
        The model, open; it runs on a GPU where there is one. Averaged weights are taken where a checkpoint has them.

    Raises:
        ArtifactError: there is no such file, it is damaged, of another program or version, or disagrees with its
            manifest.
        EngineError: an engine without a GPU.

    Example of use::

        model = cogkp.load("checkpoints/checkpoint_latest.pth")
        found = model("image.png")
        print(found.points, found.names, found.confidence)
    """
    file = _file(Path(path))
    suffix = file.suffix.lower()
    if suffix in CHECKPOINT_SUFFIXES:
        return _from_checkpoint(file, known)
    if suffix not in (ONNX_SUFFIX, *ENGINE_SUFFIXES):
        raise ArtifactError(
            "not a model file",
            where=str(file),
            expected=f"a name that ends in {', '.join((*CHECKPOINT_SUFFIXES, ONNX_SUFFIX, *ENGINE_SUFFIXES))}",
            got=file.name,
        )
    found = open_exported(file, threads=threads, fixed_buffers=fixed_buffers)
    family = _family_of(found.facts, file)
    processor = _processor(family, found.facts, file, known)
    signature = found.runner.signature
    processor.check(_shapes(signature.inputs), _shapes(signature.outputs))
    facts = {**found.facts, TRAINING_IMAGES: found.training_images}
    return Model(file, family.name, found.runner, processor, facts)


@contextmanager
def opened(model: ModelLike, *, threads: int = 0, fixed_buffers: bool = False) -> Iterator[Model]:
    """Open a model file for the block; a model that is open already stays so.

    Raises:
        ModelError: the model is closed.
    """
    if not isinstance(model, Model):
        with load(model, threads=threads, fixed_buffers=fixed_buffers) as ours:
            yield ours
        return
    model.require_open()
    yield model


def _file(path: Path) -> Path:
    """Find the newest checkpoint of a folder; a folder of results may hold it in one folder below."""
    if not path.is_dir():
        return path
    found = sorted(path.glob(NEWEST)) or sorted(path.glob(f"*/{NEWEST}"))
    if len(found) != 1:
        raise CheckpointError(
            "the folder does not name one model",
            where=str(path),
            expected=f"one file {NEWEST}",
            got=", ".join(str(file.relative_to(path)) for file in found) or "none",
            hint="Give the file itself, or the folder of one run.",
        )
    return found[0]


def _family_of(facts: Mapping[str, Any], path: Path) -> Family:
    name = facts.get("family")
    if not isinstance(name, str):
        raise ArtifactError(
            "the model file does not say what it is",
            where=str(path),
            expected="a manifest of this library, beside the file or in it",
            got="none" if name is None else f"family {name!r}",
            hint="A network of another program can only be evaluated with a configuration: cogkp.evaluate.",
        )
    return family_named(name, str(path))


def _processor(family: Family, facts: Mapping[str, Any], path: Path, known: Mapping[str, Any]) -> Processor:
    make: Callable[..., Processor] = family.part("processor")
    accepted = _keywords(make, 2)
    for name in known:
        if name not in accepted:
            raise ModelError(
                f"a {family.name} model has no use for {name!r}",
                where=str(path),
                expected=", ".join(accepted) or "nothing beside the path",
                hint=closest(name, accepted),
            )
    return make(facts, str(path), **known)


def _from_checkpoint(path: Path, known: Mapping[str, Any]) -> Model:
    from cogkp.artifacts.checkpoint import load_weights
    from cogkp.artifacts.restore import open_checkpoint
    from cogkp.tasks.base import Task

    checkpoint = open_checkpoint(str(path), path.parent).checkpoint
    family = family_named(checkpoint.family, str(path))
    try:
        config = family.part("adapter").structure(checkpoint.provenance.config)
    except ConfigError as error:
        what = "the checkpoint's configuration cannot be used"
        raise CheckpointError(what, where=str(path), got=str(error.problems[0])) from error
    task: Task = family.part("task")(family.part("adapter").to_ask(config))
    load_weights(checkpoint, task.model, str(path), averaged=True)
    return model_of_task(task, path, checkpoint.images, **known)


def model_of_task(task: Any, path: Path, training_images: Mapping[str, Any] | None = None, **known: Any) -> Model:
    """Ask a network in memory, a task with trained weights, as :func:`load` does those of files."""
    import torch

    from cogkp.artifacts.manifest import ANY_BATCH, InputFacts, OutputFacts, Signature
    from cogkp.inference.torch_runner import TorchRunner

    family, spec = family_of(task.config), task.export_spec(1)
    processor = _processor(family, spec.facts, path, known)
    signature = Signature(
        tuple(InputFacts(name, (ANY_BATCH, *example.shape[1:])) for name, example in spec.inputs.items()),
        tuple(OutputFacts(each.name, (ANY_BATCH,), each.unit, each.tolerance) for each in spec.outputs),
    )
    runner = TorchRunner(task.export_module(), signature, device="cuda" if torch.cuda.is_available() else "cpu")
    facts = {**spec.facts, TRAINING_IMAGES: training_images or {}}
    return Model(path, family.name, runner, processor, facts)


class Model:
    """A trained model that can be asked about images; see :func:`load`.

    It holds memory, and maybe a GPU, until it is closed: by :meth:`close`, at the end of a ``with`` block, or when it
    is forgotten.

    Args:
        path: its file.
        family: the word for its family.
        runner: runs it; is opened here.
        processor: makes its input and reads its outputs.
        facts: what the file says of itself.
    """

    def __init__(self, path: Path, family: str, runner: Runner, processor: Processor, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.family = family
        self.facts = facts
        self._runner = runner
        self._processor = processor
        self._dtype = runner.signature.inputs[0].dtype
        self._look = _keywords(processor.prepare, 1)
        self._known = _keywords(processor.predictions, 2)
        self._closed = False
        self._rig: ViewRig | None = None
        self._oriented, self._levels = image_reading(facts, str(path))
        self._told_orientation = self._levels_warned = False
        runner.open()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the points, or of the classes of objects."""
        return self._processor.names

    @overload
    def __call__(
        self, image: ImageLike, *, bgr: bool = ..., max_value: float | None = ..., **ask: Any
    ) -> Prediction: ...

    @overload
    def __call__(
        self, image: Sequence[ImageLike], *, bgr: bool = ..., max_value: float | None = ..., **ask: Any
    ) -> list[Prediction]: ...

    def __call__(
        self,
        image: ImageLike | Sequence[ImageLike],
        *,
        bgr: bool = False,
        max_value: float | None = None,
        **ask: Any,
    ) -> Prediction | list[Prediction]:
        """Find what the model was trained for in an image, or in each of a list of images.

        Args:
            image: an array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA of uint8, uint16 (full range) or float (0..1), the
                path of an image file, or a list of these, whose sizes may differ. Arrays are never written to; they
                are kept, not copied, so that the prediction can be drawn over them.
            bgr: whether arrays hold their colours in the order blue, green, red, as OpenCV reads them.
            max_value: the number that stands for white, as 4095 for a camera of 12 bits in uint16.
            ask: further arguments of the family: ``box=(left, top, right, bottom)`` for keypoint models that look at
                a part of the image. With a list of images, a list holds one value for each.

        Returns:
            A prediction, or a list of them: what it holds is in pixels of the image.

        Raises:
            ImageError: an image cannot be used.
            ModelError: the model is closed, lacks a box, or does not take an argument.
        """
        if isinstance(image, list | tuple):
            return self.predict(image, bgr=bgr, max_value=max_value, **ask)
        look, known = self._sorted(ask)
        return self.answer([self._prepared(image, bgr, max_value, "image", look)], **known)[0]

    def predict(
        self, images: Iterable[ImageLike], *, bgr: bool = False, max_value: float | None = None, **ask: Any
    ) -> list[Prediction]:
        """Ask about many images, a group at a time; see :meth:`__call__`."""
        images, (look, known) = list(images), self._sorted(ask)
        for name, value in ask.items():
            if isinstance(value, list) and len(value) != len(images):
                raise ModelError(
                    f"{name} does not fit the images", expected=f"{len(images)} values", got=str(len(value))
                )
        size = self.most_rows
        found: list[Prediction] = []
        for start in range(0, len(images), size):
            rows = range(start, min(start + size, len(images)))
            group = [
                self._prepared(images[row], bgr, max_value, f"image {row} of the list", _of_row(look, row))
                for row in rows
            ]
            found += self.answer(group, **{name: _of_rows(value, rows) for name, value in known.items()})
        return found

    def views(
        self,
        images: Mapping[str, ImageLike],
        calibration: CameraRig | ViewRig | str | os.PathLike[str] | None = None,
        *,
        bgr: bool = False,
        max_value: float | None = None,
        min_confidence: float = 0.2,
        max_reprojection_px: float | None = None,
        unit_mm: float | None = None,
        **ask: Any,
    ) -> ViewsPrediction:
        """Find points in images that several calibrated cameras took at one moment, and the points of space.

        Args:
            images: by the names of cameras, ``{"LL": left, "LR": right}``; each as :meth:`__call__` takes it.
            calibration: the cameras, or their file; None takes those given to the last call.
            bgr: see :meth:`__call__`.
            max_value: see :meth:`__call__`.
            min_confidence: pixels of less do not count in space.
            max_reprojection_px: reprojection error from which a view disagrees; None takes 1 % of the image's width,
                at least 5 px.
            unit_mm: millimetres of one world unit; None tells points in world units.
            ask: as :meth:`__call__`; a mapping has one value for each view.

        Returns:
            Predictions by camera, and points of space with covariance, validity and reprojection errors.

        Raises:
            ModelError: the model finds no points, there is one view only, or no calibration.
            GeometryError: the calibration has no such camera, or is for images of another shape.
            ImageError: an image cannot be used.
        """
        from cogkp.inference.views import LiftRules, ViewRig, check_views, lifted

        check_views(images)
        if calibration is not None:
            self._rig = ViewRig.of(calibration)
        if self._rig is None:
            raise ModelError("the cameras are not known", expected="views(images, calibration)", got="no calibration")
        self._rig.require(tuple(images))
        asked = {
            name: [value[view] for view in images] if isinstance(value, Mapping) else value
            for name, value in ask.items()
        }
        found = self.predict(list(images.values()), bgr=bgr, max_value=max_value, **asked)
        rules = LiftRules(min_confidence, max_reprojection_px, unit_mm)
        return lifted(dict(zip(images, found, strict=True)), self._rig, rules)

    def _sorted(self, ask: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Part what is needed to look at an image from what is needed to read the outputs."""
        self.require_open()
        if not ask:
            return {}, {}
        for name in ask:
            if name not in (*self._look, *self._known):
                accepted = ("bgr", "max_value", *self._look, *self._known)
                raise ModelError(
                    f"the model has no use for {name!r}",
                    where=str(self.path),
                    expected=", ".join(accepted),
                    hint=closest(name, accepted),
                )
        look = {name: value for name, value in ask.items() if name in self._look}
        return look, {name: value for name, value in ask.items() if name in self._known}

    @property
    def runs_on(self) -> str:
        """What runs it, and where: 'onnxruntime on cpu'."""
        return f"{self._runner.name} on {self._runner.device}"

    @property
    def rows(self) -> tuple[int, int | None]:
        """Fewest and most images of one batch; None where there is no limit."""
        return self._runner.rows

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def require_open(self) -> None:
        """Refuse (ModelError) to go on with a model that was closed."""
        if self._closed:
            raise ModelError("the model is closed", where=str(self.path), hint="Open it again: cogkp.load(path).")

    @property
    def most_rows(self) -> int:
        """The most images that pass together."""
        return self._runner.rows[1] or GROUP

    def tell_orientations(self, images: Sequence[Path], where: str) -> None:
        """Tell of image files that note an orientation, all at once, and not again of each one."""
        self._told_orientation = True
        switch = "training with images.apply_exif_orientation"
        tell_orientations(images, where, oriented=self._oriented, switch=switch)

    def prepare(self, image: ImageLike, *, bgr: bool = False, max_value: float | None = None, **look: Any) -> Prepared:
        """Make the network's input of an image; :meth:`answer` goes on from there."""
        return self._prepared(image, bgr, max_value, "image", look)

    def beside(self, image: Path) -> Mapping[str, Any]:
        """Read what files beside an image file say of it, as its camera: arguments for :meth:`answer`."""
        return self._processor.beside(image)

    def takes(self, name: str) -> bool:
        """Say whether calls take a further argument of this name."""
        return name in (*self._look, *self._known)

    def looks_with(self, name: str) -> bool:
        """Say whether this argument is needed to prepare an image; else it is one of :meth:`read`."""
        return name in self._look

    @property
    def asks_where(self) -> bool:
        """Whether it must be told where to look: it takes a ``box`` and was trained on squares round the points."""
        return self._processor.asks_where

    def pixels(self, path: Path) -> npt.NDArray[Any]:
        """Read an image file as :meth:`prepare` does: turned as it notes where the training turned its images.

        Returns:
            (H, W) or (H, W, 3) RGB, as :func:`cogkp.data.images.read_image` gives it.

        Raises:
            ImageError: the file cannot be used.
        """
        if not self._oriented and not self._told_orientation and noted_orientation(path) != UPRIGHT:
            self._told_orientation = True
            message = "%s notes an orientation (EXIF), which this model does not apply: pixels are taken as stored"
            log.warning(message + ", also those of further images", path)
        return read_image(path, oriented=self._oriented)

    def _prepared(
        self, image: Any, bgr: bool, max_value: float | None, where: str, look: Mapping[str, Any]
    ) -> Prepared:
        if isinstance(image, str | os.PathLike):
            path = Path(image)
            pixels = self.pixels(path)
            if max_value is not None:
                pixels = as_image(pixels, max_value=max_value, where=str(path))
                return self._processor.prepare(pixels, **look)
            file = ImageFile(path, self._oriented, self._levels)
            return self._processor.prepare(self._levelled(pixels, str(path)), **look)._replace(image=file)
        pixels = as_image(image, bgr=bgr, max_value=max_value, where=where)
        return self._processor.prepare(self._levelled(pixels, where), **look)

    def _levelled(self, pixels: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
        """Spread the levels of the training over 0..1, and tell once of an image far outside them."""
        message = "" if self._levels_warned else _outside(pixels, self._levels)
        if message:
            self._levels_warned = True
            log.warning("%s: %s; max_value=... says which value is white", where, message)
        return pixels if self._levels is None else stretched(pixels, self._levels)

    def answer(self, prepared: Sequence[Prepared], **known: Any) -> list[Prediction]:
        """Say what is found in images that were prepared; a list in ``known`` holds one value for each."""
        return self.read(self.network(prepared), prepared, **known)

    def network(self, prepared: Sequence[Prepared]) -> dict[str, npt.NDArray[Any]]:
        """Run the network alone on images that were prepared: its outputs by name, one row for each image."""
        one = len(prepared) == 1
        rows = prepared[0].input[None] if one else np.stack([each.input for each in prepared])
        return infer_rows(self._runner, rows.astype(self._dtype, copy=False))

    def read(
        self, outputs: Mapping[str, npt.NDArray[Any]], prepared: Sequence[Prepared], **known: Any
    ) -> list[Prediction]:
        """Say what the outputs of :meth:`network` mean in the pixels of the images, as :meth:`answer` does."""
        return list(self._processor.predictions(outputs, prepared, **known))

    def close(self) -> None:
        """Give memory and devices back; closing twice changes nothing."""
        self._closed = True
        self._runner.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"run by {self._runner.name}"
        return f"<{self.family} model {str(self.path)!r}: {', '.join(self.names)}; {state}>"


def _outside(pixels: npt.NDArray[Any], levels: Levels | None) -> str:
    """Say how an image lies far outside what the training was like; nothing where it does not."""
    if pixels.dtype == np.uint16:
        return misfit(*value_range(counted_values(pixels)), levels, MUCH_DARKER)
    return faint(int(pixels.min()), int(pixels.max()), MUCH_DARKER) if pixels.dtype == np.uint8 else ""


def _keywords(call: Callable[..., Any], positional: int) -> tuple[str, ...]:
    """Name the parameters of a function after its first ones."""
    return tuple(inspect.signature(call).parameters)[positional:]


def _shapes(entries: Sequence[Any]) -> Shapes:
    return {entry.name: entry.shape for entry in entries}


def _of_row(look: Mapping[str, Any], row: int) -> dict[str, Any]:
    return {name: value[row] if isinstance(value, list) else value for name, value in look.items()}


def _of_rows(value: Any, rows: range) -> Any:
    return value[rows.start : rows.stop] if isinstance(value, list) else value
