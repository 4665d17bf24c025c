"""Every flag of every command, declared once: its name, type, range and help."""

import math
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from cogkp.errors import printable

MAX_FRACTION = 0.9


class PrecisionName(str, Enum):
    """Number formats of training and deployment."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class BuilderName(str, Enum):
    """Programs that can build an inference engine."""

    AUTO = "auto"
    TRTEXEC = "trtexec"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt_rtx"


class ExporterName(str, Enum):
    """Ways of torch to write ONNX files."""

    LEGACY = "legacy"
    DYNAMO = "dynamo"


class CameraAxes(str, Enum):
    """Camera axes that annotation files may be in."""

    OPENCV = "opencv"
    OPENGL = "opengl"
    OBJECTRON = "objectron"


class Split(str, Enum):
    """Which recordings an evaluation reads."""

    VALIDATION = "validation"
    EVALUATION = "evaluation"


def word(choice: Enum | None) -> str | None:
    """Return the plain word behind a choice; the library takes words."""
    return None if choice is None else str(choice.value)


def check_family(config: object, wanted: type[object], path: Path, ending: str) -> None:
    """Refuse the configuration of another family, which the ending of its file stands for."""
    if not isinstance(config, wanted):
        got = f"{path} holds a {type(config).__name__}, not a {wanted.__name__}"
        raise typer.BadParameter(f"{printable(got)}: give a file that ends in {ending}, or use the other command.")


def spelled_out(ctx: typer.Context, names: frozenset[str]) -> frozenset[str]:
    """Say which of the named parameters the user gave, as opposed to those left at their default."""
    sources = ((name, ctx.get_parameter_source(name)) for name in names)
    return frozenset(name for name, source in sources if source is not None and source.name == "COMMANDLINE")


def _positive(value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value} is not a number above 0.")
    return value


def _positive_if_given(value: float | None) -> float | None:
    return None if value is None else _positive(value)


def _not_negative(value: float) -> float:
    if not value >= 0:
        raise typer.BadParameter(f"{value} is not a number >= 0.")
    return value


def _share_below_one(value: float) -> float:
    if not 0.0 <= value < 1.0:
        raise typer.BadParameter(f"{value} is not a number >= 0 and < 1.")
    return value


def _all_positive(values: Any) -> Any:  # typer takes list[float] for a class on Python 3.10 and fails
    return [_positive(value) for value in values]


# Files
ConfigFile = Annotated[
    Path,
    typer.Option(
        "-c", "--config", metavar="FILE", help="Dataset config, JSON; written as a template if missing.", dir_okay=False
    ),
]
ExistingConfig = Annotated[
    Path,
    typer.Option(
        "-c", "--config", metavar="FILE", help="Dataset config, JSON; or experiment spec, YAML.", dir_okay=False
    ),
]
SchemaFile = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="Write the schema here instead of printing it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; all else goes to stderr.")]

# What to do, in the order it is done
PreviewData = Annotated[bool, typer.Option("--preview-data", help="Show the augmented samples, batch by batch.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Build everything and run one training step.")]
Train = Annotated[bool, typer.Option("-t", "--train", help="Train and write checkpoints.")]
Deploy = Annotated[bool, typer.Option("--deploy", help="Export ONNX, then build a TensorRT engine from it.")]

# Where things come from and go to
Restore = Annotated[
    str | None, typer.Option("--restore", metavar="latest|best|PATH", help="Checkpoint to go on from or to deploy.")
]
ModelToEvaluate = Annotated[
    str,
    typer.Option(
        "--restore", "--model", metavar="latest|best|PATH", help="Checkpoint, ONNX file or engine to evaluate."
    ),
]
EncoderWeights = Annotated[
    str | None,
    typer.Option(
        "--encoder-weights",
        metavar="FILE|imagenet",
        help="Start the encoder from a checkpoint or published weights; imagenet: those in torch's hub cache.",
    ),
]
AllowConfigChange = Annotated[
    bool, typer.Option("--allow-config-change", help="Go on from a checkpoint of another configuration.")
]
CheckpointInterval = Annotated[
    str,
    typer.Option(
        "--checkpoint-interval",
        metavar="N|TIME",
        help="Also save within an epoch: every 200 or 200steps, 90s, 10min or 1h.",
    ),
]
KeepLast = Annotated[int, typer.Option("--keep-last", min=1, metavar="K", help="Newest checkpoints that are kept.")]
NoReport = Annotated[bool, typer.Option("--no-report", help="Write no report after the training.")]
PreviewDir = Annotated[
    Path, typer.Option("--preview-dir", metavar="DIR", help="Where the preview goes when there is no display.")
]
DeployUntrained = Annotated[bool, typer.Option("--deploy-untrained", help="Allow an export without a checkpoint.")]
DeployPath = Annotated[
    str | None,
    typer.Option("--deploy-path", metavar="FILE", help="ONNX file to write; else a name under assets/models."),
]
DeployBatchSize = Annotated[
    int, typer.Option("--deploy-batch-size", min=0, metavar="N", help="Fixed batch size of the export; 0: any.")
]
OnnxExporter = Annotated[
    ExporterName,
    typer.Option(
        "--onnx-exporter",
        metavar="{legacy,dynamo}",
        help="How torch writes the ONNX file; dynamo needs cogkp[export].",
    ),
]
NoEngine = Annotated[bool, typer.Option("--no-engine", help="Stop after ONNX; build no engine.")]
EngineBuilder = Annotated[
    BuilderName,
    typer.Option(
        "--engine-builder",
        metavar="NAME",
        help="trtexec, tensorrt, tensorrt_rtx, or auto: trtexec if found, else tensorrt.",
    ),
]
PrecisionChoice = Annotated[
    PrecisionName | None,
    typer.Option(
        "--precision", metavar="{fp32,bf16,fp16}", help="Number format; bf16 on CUDA and fp32 elsewhere if unset."
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the network with torch.compile; --no-compile takes that from a restored run.",
    ),
]
Profile = Annotated[bool, typer.Option("--profile", help="Write a trace of ten steps into the run folder.")]

# Logging
NoTb = Annotated[bool, typer.Option("--no-tb", help="Write no TensorBoard log.")]
LogDir = Annotated[Path, typer.Option("--log-dir", metavar="DIR", help="TensorBoard root; each run adds a folder.")]
VerboseLog = Annotated[bool, typer.Option("--verbose-log", help="Also log histograms and images.")]
LogInterval = Annotated[
    int, typer.Option("--log-interval", min=1, metavar="N", help="Steps between histograms and images.")
]

# Numbers
NumWorkers = Annotated[int, typer.Option("-w", "--num-workers", min=0, metavar="N", help="Loader processes.")]
PrefetchFactor = Annotated[
    int, typer.Option("--prefetch-factor", min=1, metavar="N", help="Batches each loader prepares ahead.")
]
Epochs = Annotated[int, typer.Option("-e", "--epochs", min=1, metavar="N", help="Passes over the data.")]
BatchSize = Annotated[int, typer.Option("-b", "--batch_size", min=1, metavar="N", help="Images per step.")]
Accumulate = Annotated[
    int,
    typer.Option(
        "--accumulate", min=1, metavar="N", help="Pass the images of a step in N parts one after another; saves memory."
    ),
]
LearningRate = Annotated[
    float, typer.Option("-lr", "--learning_rate", metavar="RATE", callback=_positive, help="Initial learning rate.")
]
ClipNorm = Annotated[
    float,
    typer.Option(
        "--clip-norm",
        metavar="NORM",
        callback=_not_negative,
        help="Shorten longer gradients to this norm; 0 shortens none.",
    ),
]
WaitFor = Annotated[
    int,
    typer.Option(
        "--patience", min=0, metavar="N", help="Stop after N validations without a better one; 0 never stops."
    ),
]
OverfitOneBatch = Annotated[
    bool,
    typer.Option(
        "--overfit-one-batch", help="Train on the first batch only, drawn once, to find faults of data or loss."
    ),
]
EmaDecay = Annotated[
    float,
    typer.Option(
        "--ema",
        metavar="DECAY",
        callback=_share_below_one,
        help="Average the weights with this decay, as 0.999; validated and deployed is the average. 0 is off.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of every random choice.")]

# Evaluation
SplitChoice = Annotated[
    Split | None,
    typer.Option(
        "--split",
        metavar="{validation,evaluation}",
        help="Validation roots or base_dir; unset takes validation where configured.",
    ),
]
Thresholds = Annotated[
    list[float],
    typer.Option("--threshold", callback=_all_positive, metavar="PX", help="Radius of a correct point; repeatable."),
]
UnitMm = Annotated[
    float | None,
    typer.Option(
        "--unit-mm",
        metavar="MM",
        callback=_positive_if_given,
        help="Millimetres per world unit; lengths are then reported in mm.",
    ),
]
ReportDir = Annotated[
    Path | None, typer.Option("--output", metavar="DIR", help="Where the report and its drawings are written.")
]

Worst = Annotated[int, typer.Option("--worst", min=0, metavar="K", help="Worst images that the page shows.")]

# Comparison
CHECKPOINTS = Path("checkpoints")
FirstRun = Annotated[
    str,
    typer.Argument(metavar="FIRST", help="Run folder, name of a run, or evaluation.json.", show_default=False),
]
SecondRun = Annotated[
    str, typer.Argument(metavar="SECOND", help="The same; it is compared with the first.", show_default=False)
]
ComparisonPage = Annotated[
    Path | None, typer.Option("--output", metavar="HTML", help="The page; beside the second evaluation if unset.")
]
CheckpointRoot = Annotated[Path, typer.Option("--checkpoints", metavar="DIR", help="Folder of all runs.")]

# Import
Format = Annotated[
    str,
    typer.Argument(
        metavar="FORMAT",
        help="deeplabcut, lightning-pose, stereo-pairs, ... as the library knows them.",
        show_default=False,
    ),
]
Source = Annotated[Path, typer.Argument(metavar="SOURCE", help="File or folder to read.", show_default=False)]
Destination = Annotated[Path, typer.Argument(metavar="DEST", help="Folder to write.", show_default=False)]
ValidationShare = Annotated[
    float,
    typer.Option(
        "--validation", metavar="SHARE", min=0.0, max=MAX_FRACTION, help="Share of frames kept for validation."
    ),
]

AppliedOrientation = Annotated[
    bool, typer.Option("--apply-exif-orientation", help="Turn images as their files note, as the labels were made.")
]

# Calibration
CalibrationFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE",
        help="Our JSON, OpenCV YAML or XML (one file, two, or their folder), Anipose TOML, or Kalibr YAML.",
        show_default=False,
    ),
]
ImageSize = Annotated[
    tuple[int, int] | None,
    typer.Option("--size", metavar="W H", help="Size of the images, where the file does not say it."),
]
CameraNames = Annotated[
    tuple[str, str] | None,
    typer.Option("--names", metavar="LEFT RIGHT", help="Names of both cameras, in the order of the file."),
]
LabelConfig = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", metavar="FILE", help="Dataset config whose labelled pairs are compared.", dir_okay=False
    ),
]
LabelRoots = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="ROOT", help="Data set with these labels instead of the config's; repeatable."),
]
CalibrationDrawing = Annotated[
    Path | None, typer.Option("--output", metavar="PNG", help="Where the drawing goes; beside the file if unset.")
]
Converted = Annotated[
    Path | None, typer.Option("--convert", metavar="JSON", help="Also write the cameras as our JSON file.")
]

# Experiments
SpecFile = Annotated[
    Path,
    typer.Option(
        "-e",
        "--experiment_spec_file",
        "--experiment_spec",
        metavar="FILE",
        help="Experiment spec, YAML.",
        dir_okay=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SECTION.KEY=VALUE ...",
        help="Values that win over the spec's, as train.num_epochs=40.",
        show_default=False,
    ),
]

# Boxes
BoxFolder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="Images with a JSON file beside each, at any depth.", show_default=False),
]
CameraFrameOfFiles = Annotated[
    CameraAxes | None,
    typer.Option(
        "--camera-frame",
        help="Camera axes of the files: opencv, opengl or objectron; what each file says, else objectron, if unset.",
    ),
]
TolerancePx = Annotated[
    float,
    typer.Option(
        "--tolerance",
        metavar="PX",
        help="Largest distance between two statements about one point that is no problem, pixels.",
        callback=_positive,
    ),
]
BoxCheckDrawing = Annotated[
    Path | None,
    typer.Option("--output", metavar="PNG", help="Where the drawing goes; the working directory if unset."),
]

BoxFormat = Annotated[
    str,
    typer.Argument(metavar="FORMAT", help="cuboid-opengl or tampar, as the library knows them.", show_default=False),
]
BoxImageCount = Annotated[
    int, typer.Option("--images", min=1, max=100_000, metavar="N", help="Images to draw, of both parts.")
]
BoxShape = Annotated[
    str, typer.Option("--shape", metavar="NAME", help="carton, cereal_box, book, crate or can; also the category.")
]
BoxTurns = Annotated[
    int,
    typer.Option(
        "--symmetric",
        min=1,
        metavar="N",
        help="After so many equal turns each looks alike: 1, 2 or 4; for a can 6, 8, 12, 16 or 24.",
    ),
]
MostBoxes = Annotated[int, typer.Option("--boxes", min=1, max=100, metavar="N", help="Most objects of one image.")]
RenderedSize = Annotated[tuple[int, int], typer.Option("--size", metavar="W H", help="Size of the images, pixels.")]

# Demo
DemoDir = Annotated[Path, typer.Option("--output", metavar="DIR", help="Each demo makes a folder of its own in here.")]
DemoFrames = Annotated[int, typer.Option("--frames", min=10, max=100_000, metavar="N", help="Stereo frames to render.")]
DemoEpochs = Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="Passes over the data.")]
