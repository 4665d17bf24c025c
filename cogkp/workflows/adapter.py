"""The adapter of a model family: what differs between families for each verb.

:class:`cogkp.tasks.base.Task` says what a family is to a trainer; an :class:`Adapter` says how its configuration asks
for each verb: what to check, which options hold, where results go and how they are named. docs/architecture.md shows a
family from end to end.
"""

import logging
from abc import ABC, abstractmethod
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.artifacts.manifest import Manifest, Origin
from cogkp.artifacts.names import engine_path, file_sha256, onnx_name, timestamp
from cogkp.artifacts.restore import Restored, open_checkpoint
from cogkp.artifacts.runs import LATEST, own_name
from cogkp.config.converter import plain_hash
from cogkp.config.images import ImageFiles
from cogkp.config.train import ExportOptions, TrainOptions
from cogkp.data.dataset import Split
from cogkp.data.images.survey import find_images
from cogkp.errors import ArtifactError, ConfigError, DataError, ExportError, Problem
from cogkp.exporter.dynamo import LEGACY
from cogkp.exporter.engine_options import AS_THE_FILE_SAYS, EngineOptions
from cogkp.exporter.onnx_export import OPSET
from cogkp.families import family_of
from cogkp.files import make_folder
from cogkp.inference.exported import Exported, described_onnx
from cogkp.inference.model import Model, load, model_of_task
from cogkp.progress import Progress
from cogkp.tasks.base import Report, Task
from cogkp.tasks.registry import build_task
from cogkp.training.distributed import SINGLE, Ranks
from cogkp.training.precision import resolve_precision
from cogkp.training.seeding import seed_everything
from cogkp.workflows.evaluation_page import Words
from cogkp.workflows.image_levels import with_exported_levels
from cogkp.workflows.report_writer import EvaluationResult
from cogkp.workflows.result_files import names_of, require_apart
from cogkp.workflows.setup import OpenedModel, is_exported, open_model, restored_task, spread
from cogkp.workflows.training_job import CHECKPOINT_ROOT, TrainingJob, TrainingRequest

MODELS_ROOT = Path("assets/models")
BATCH_SIZE = 32
PARITY_SAMPLES = 8

log = logging.getLogger("cogkp")


@attrs.frozen(kw_only=True)
class EvaluationRequest:
    """What a caller of ``evaluate`` asked for; None takes what the configuration says. See :func:`cogkp.evaluate`."""

    model: str | None = None
    split: Split | None = None
    batch_size: int | None = None
    num_workers: int | None = None
    output_dir: Path | None = None
    checkpoint_root: Path = CHECKPOINT_ROOT
    ranks: Ranks = SINGLE
    in_training: bool = False
    """Whether a training asks, which has processes of its own, whatever the configuration says of evaluations."""


def _unchanged(report: Report, found: EvaluationResult) -> EvaluationResult:
    return found


def _nothing(_: Any) -> None:
    """Do nothing."""


@attrs.frozen(eq=False, kw_only=True)
class EvaluationJob:
    """One evaluation as a family's configuration asks for it.

    Args:
        model: what is evaluated.
        split: the data it is evaluated on.
        loading: batch size and loader processes of each rank.
        folder: makes the folder of the results.
        subject: what the model finds, in a word: the title of the page.
        words: what the page calls things.
        finished: writes what only this family leaves beside the report, and returns the result with it; called on the
            first rank alone.
    """

    model: OpenedModel
    split: Split
    loading: TrainOptions
    folder: Callable[[], Path]
    subject: str
    words: Words
    finished: Callable[[Report, EvaluationResult], EvaluationResult] = _unchanged


@attrs.frozen(kw_only=True)
class ExportRequest:
    """What a caller of ``export`` asked for; see :func:`cogkp.export`."""

    options: ExportOptions | None = None
    checkpoint: str | None = None
    untrained: bool = False
    exporter: str = LEGACY
    checkpoint_root: Path = CHECKPOINT_ROOT
    models_root: Path = MODELS_ROOT


@attrs.frozen(eq=False, kw_only=True)
class ExportJob:
    """One export as a family's configuration asks for it.

    Args:
        folder: of the results.
        task: with the weights to export.
        origin: where they come from.
        onnx: file to write.
        engine: engine to build beside it, or None.
        precision: word for the manifest.
        batch_size: fixed; None for any.
        builder: who builds the engine.
        samples: real inputs by name, to compare on.
        opset: ONNX operator set.
        fold: whether what depends on no input is computed while exporting.
        verbose: whether inputs, outputs and differences are logged.
        finished: called with the largest difference of each output.
    """

    folder: Path
    task: Task
    origin: Origin
    onnx: Path
    engine: Path | None
    precision: str
    batch_size: int | None
    builder: str
    samples: Mapping[str, npt.NDArray[np.float32]]
    opset: int = OPSET
    fold: bool = True
    verbose: bool = False
    finished: Callable[[Mapping[str, float]], None] = _nothing


@attrs.frozen(kw_only=True)
class EngineRequest:
    """What a caller of ``build_engine`` asked for; see :func:`cogkp.build_engine`."""

    onnx: Path | None = None
    engine: Path | None = None
    builder: str = "auto"
    progress: Progress


@attrs.frozen(eq=False, kw_only=True)
class EngineJob:
    """One engine as a family's configuration asks for it.

    Args:
        folder: of the results.
        onnx: the file it is built from.
        engine: file to write.
        manifest: of the ONNX file; its precision is the engine's.
        builder: who builds.
        options: what the engine is to be, beside its precision.
        source: a file with 8-bit layers that was made of the ONNX file, to build from instead.
        rounding: how far 8 bits move what is found, in numbers.
        finished: called with the rounding.
    """

    folder: Path
    onnx: Path
    engine: Path
    manifest: Manifest
    builder: str
    options: EngineOptions
    source: Path | None = None
    rounding: Mapping[str, float] = attrs.field(factory=dict)
    finished: Callable[[Mapping[str, float]], None] = _nothing


@attrs.frozen(kw_only=True)
class PredictionRequest:
    """What a caller of ``infer`` asked for; see :func:`cogkp.infer`."""

    source: Path | None = None
    model: str | None = None
    output_dir: Path | None = None
    checkpoint_root: Path = CHECKPOINT_ROOT
    ranks: Ranks = SINGLE


@attrs.frozen(eq=False, kw_only=True)
class AskedImage:
    """An image that a model is asked about.

    Args:
        path: the file.
        name: of its results, a path below their folder without the last suffix.
        known: further arguments of the model, as its camera.
    """

    path: Path
    name: str
    known: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(eq=False, kw_only=True)
class PredictionJob:
    """One prediction as a family's configuration asks for it.

    Args:
        model: what is asked.
        images: about which images.
        folder: of the results.
        count: counts what was found in an image, by name.
        record: makes the content of an image's JSON file.
        draw: draws what was found: (H, W, 3) uint8 RGB.
        problems: what is wrong with images that are left out.
        batch_size: images at once.
        workers: threads that read images.
        save_json: whether JSON files are written.
        save_drawings: whether drawings are written.
        finished: called with the result, a :class:`cogkp.workflows.predict.InferResult`, on the first rank alone.
    """

    model: Model
    images: Sequence[AskedImage]
    folder: Path
    count: Callable[[Any], Mapping[str, int]]
    record: Callable[[AskedImage, Any], dict[str, Any]]
    draw: Callable[[Any], npt.NDArray[np.uint8]]
    problems: Sequence[Problem] = ()
    batch_size: int = 16
    workers: int = 2
    save_json: bool = True
    save_drawings: bool = True
    finished: Callable[[Any], None] = _nothing


class Adapter(ABC):
    """What one family answers above its task.

    As it stands it serves a family whose models live in runs under a root of checkpoints, and whose options come from
    the caller. Such a family overrides the first group of methods; one whose configuration says all of this itself
    overrides the verbs, too.
    """

    words = Words(
        column="point",
        curves="Uncertainty",
        worst="By the worst {measure} of any point. Rings are labels, crosses are predictions.",
        evaluation="main",
    )
    """What the page of an evaluation calls things."""

    @abstractmethod
    def structure(self, plain: Mapping[str, Any]) -> Any:
        """Turn plain values of a checkpoint into a configuration; raises ConfigError."""

    @abstractmethod
    def dump(self, config: Any) -> dict[str, Any]:
        """Return a configuration as plain values."""

    def check(self, config: Any, options: TrainOptions) -> Sequence[Problem]:
        """List what stands between a configuration and its training with these options."""
        return ()

    @abstractmethod
    def splits(self, config: Any) -> Mapping[Split, str]:
        """Name the data that a training opens, each with the key of the configuration that names it."""

    @abstractmethod
    def points(self, config: Any) -> tuple[str, ...]:
        """Name what the network finds, in its order."""

    def roots(self, config: Any) -> tuple[str, ...]:
        """Name the roots of the training data."""
        return ()

    def num_classes(self, config: Any) -> int | None:
        """Count the classes of the mask; None without one."""
        return None

    def network(self, config: Any) -> str:
        """Name the network in a few words, for messages."""
        return ""

    def subject(self, config: Any) -> str:
        """Name the model in a word: the title of pages, and the first part of file names."""
        return family_of(config).name

    def needs_labels(self, config: Any) -> bool:
        """Whether data without any label of a point is refused."""
        return True

    def start_weights(self, config: Any, task: Any, options: TrainOptions) -> None:  # noqa: B027 - nothing is usual
        """Give a fresh network the published or earlier weights that configuration or options name."""

    def to_ask(self, config: Any) -> Any:
        """Change the configuration of a checkpoint to one whose export is what is asked about images."""
        return config

    def fitted(self, config: Any, found: Exported, path: Path) -> tuple[Task, type[Any]]:
        """Compare an exported model with the task of a configuration.

        Raises:
            ArtifactError: it takes other images, or finds something else.
        """
        task = build_task(with_exported_levels(config, found.facts, str(path)))
        spec, shape = task.export_spec(1), found.runner.signature.inputs[0].shape
        wanted = next(iter(spec.inputs.values())).shape[1:]
        if tuple(shape[1:]) != tuple(wanted):
            raise ArtifactError(
                "the model takes other images",
                where=str(path),
                expected=f"[B, {', '.join(map(str, wanted))}], as the configuration says",
                got=str(list(shape)),
            )
        names = found.facts.get("points", {}).get("names")
        if names is not None and len(names) != len(self.points(config)):
            raise ArtifactError(
                "the model finds other points",
                where=str(path),
                expected=", ".join(self.points(config)),
                got=", ".join(map(str, names)),
            )
        return task, namedtuple("Outputs", [output.name for output in spec.outputs])

    def image_files(self, config: Any) -> ImageFiles | None:
        """Say how image files are read; None where the configuration says nothing of it."""
        return None

    def with_image_files(self, config: Any, files: ImageFiles) -> Any:
        """Change how image files are read; asked of those families alone whose configuration says it."""
        raise NotImplementedError(f"{type(self).__name__} has image_files, and needs with_image_files too")

    def check_loading(self, config: Any, options: TrainOptions) -> Sequence[Problem]:
        """List what prevents the data of a configuration from being loaded in batches."""
        return ()

    def training(self, config: Any, asked: TrainingRequest, ranks: Ranks) -> TrainingJob:
        """Begin a training."""
        return TrainingJob(self, config, asked, ranks)

    @contextmanager
    def evaluation(self, config: Any, asked: EvaluationRequest) -> Iterator[EvaluationJob]:
        """Open a checkpoint or an exported model, and choose the validation data where there is some."""
        options = TrainOptions(batch_size=asked.batch_size or BATCH_SIZE, num_workers=asked.num_workers or 0)
        require(self.check_loading(config, options))
        with self._opened(config, asked.model or LATEST, asked.checkpoint_root) as model:
            split = asked.split or self._plain_split(config)
            yield EvaluationJob(
                model=model,
                split=split,
                loading=options,
                folder=lambda: make_folder(asked.output_dir or model.home / f"{split}-{timestamp()}"),
                subject=self.subject(config),
                words=self.words,
            )

    def _plain_split(self, config: Any) -> Split:
        return "validation" if "validation" in self.splits(config) else "evaluation"

    @contextmanager
    def _opened(self, config: Any, model: str, root: Path) -> Iterator[OpenedModel]:
        if is_exported(Path(model)):
            with open_model(config, Path(model)) as opened:
                yield opened
            return
        restored = open_checkpoint(model, root)
        with open_model(config, restored) as opened:
            self._warn_of_names(restored, config)
            yield opened

    def _warn_of_names(self, restored: Restored, config: Any) -> None:
        trained, asked = restored.checkpoint.provenance.points, self.points(config)
        if trained != asked:
            said = "%s was trained for the points %s; the configuration calls them %s"
            log.warning(said, restored.path, ", ".join(trained), ", ".join(asked))

    @contextmanager
    def export(self, config: Any, asked: ExportRequest) -> Iterator[ExportJob]:
        """Choose the checkpoint and the name of the ONNX file."""
        options = asked.options or ExportOptions()
        task, origin = self._exported_task(config, asked)
        precision = resolve_precision(options.precision).name
        name = onnx_name(self.subject(config), options.batch_size, timestamp(), precision)
        onnx = asked.models_root / name if options.path is None else Path(options.path)
        yield ExportJob(
            folder=onnx.parent,
            task=task,
            origin=origin,
            onnx=onnx,
            engine=engine_path(onnx) if options.engine else None,
            precision=precision,
            batch_size=options.batch_size or None,
            builder=options.builder,
            samples=self._parity_samples(config, task),
        )

    @contextmanager
    def prediction(self, config: Any, asked: PredictionRequest) -> Iterator[PredictionJob]:
        """Find the images, and open the model."""
        if asked.source is None:
            raise ConfigError([Problem("there are no images", "source", "an image, or a folder of images", "nothing")])
        paths = find_images(asked.source) if asked.source.is_dir() else (asked.source,)
        root = asked.source if asked.source.is_dir() else asked.source.parent
        with self._opened_to_ask(config, asked.model or LATEST, asked.checkpoint_root) as (model, home):
            folder = asked.output_dir or home / f"predictions-{timestamp()}"
            require_apart(folder, root)
            model.tell_orientations(paths, str(asked.source))
            yield PredictionJob(
                model=model,
                images=[AskedImage(path=path, name=name) for path, name in names_of(paths, root)],
                folder=make_folder(folder),
                count=lambda _: {"points": len(self.points(config))},
                record=lambda image, found: {"image": image.path.name, **found.to_dict()},
                draw=lambda found: found.draw(),
            )

    @contextmanager
    def _opened_to_ask(self, config: Any, model: str, root: Path) -> Iterator[tuple[Model, Path]]:
        if is_exported(Path(model)):
            with load(model) as opened:
                yield opened, Path(model).parent
            return
        restored = open_checkpoint(model, root)
        task = restored_task(config, restored)
        with model_of_task(task, own_name(restored.path, restored.home)) as opened:
            yield opened, restored.home

    def _exported_task(self, config: Any, asked: ExportRequest) -> tuple[Task, Origin]:
        sha256 = plain_hash(self.dump(config))
        if asked.checkpoint is not None:
            restored = open_checkpoint(asked.checkpoint, asked.checkpoint_root)
            task = restored_task(config, restored)
            self._warn_of_names(restored, config)
            path = own_name(restored.path, restored.home)
            return task, Origin(sha256, str(path), file_sha256(path), restored.checkpoint.images)
        if not asked.untrained:
            raise ExportError(
                "no checkpoint to deploy",
                expected="--restore, or --train in the same call",
                hint="Add --deploy-untrained to export fresh weights.",
            )
        seed_everything(0)
        return build_task(config), Origin(sha256)

    def _parity_samples(self, config: Any, task: Task) -> dict[str, npt.NDArray[np.float32]]:
        """Take a few real inputs where the data is at hand; an export must not depend on it."""
        try:
            batch = spread(task.datasets(self._plain_split(config)), PARITY_SAMPLES)
        except DataError as error:
            if self.roots(config):
                log.warning("comparing on synthetic inputs alone, since the data cannot be read: %s", error)
            return {}
        return {name: image.numpy() for name, image in zip(batch.ids, batch.image, strict=True)}

    @contextmanager
    def engine(self, config: Any, asked: EngineRequest) -> Iterator[EngineJob]:
        """Build from a named ONNX file, in the precision its manifest names."""
        if asked.onnx is None:
            raise ConfigError([Problem("there is no ONNX file", "onnx", "an exported model", "nothing")])
        signature, manifest = described_onnx(asked.onnx)
        family = family_of(config).name
        if manifest is None or manifest.facts.get("family") != family:
            got = ", ".join(entry.name for entry in signature.outputs)
            hint = "Export it with this library, which writes its manifest."
            raise ArtifactError("no model of this family", where=str(asked.onnx), expected=family, got=got, hint=hint)
        yield EngineJob(
            folder=asked.onnx.parent,
            onnx=asked.onnx,
            engine=asked.engine or engine_path(asked.onnx),
            manifest=manifest,
            builder=asked.builder,
            options=AS_THE_FILE_SAYS,
        )


def require(problems: Sequence[Problem]) -> None:
    """Raise ConfigError where there are problems."""
    if problems:
        raise ConfigError(problems)


def adapter_of(config: Any) -> Adapter:
    """Find the adapter of a configuration by its class.

    Raises:
        CogkpError: no family uses this class.
    """
    adapter: Adapter = family_of(config).part("adapter")
    return adapter
