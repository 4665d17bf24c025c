"""Checkpoints: everything a training needs to resume, as plain containers and tensors.

They are read with ``weights_only=True`` alone, so that a file from elsewhere can never run code, and only after their
checksum was verified. Older formats are migrated while they are read. To save something new: add a field to
:class:`TrainingState` with its type in ``FIELD_TYPES``, count ``FORMAT_VERSION`` up, and say in ``LACKING`` what the
field is in a file that lacks it.
"""

import io
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cogkp.artifacts.checksum import has_checksum, verified, with_checksum
from cogkp.artifacts.runs import RunFolder
from cogkp.errors import ArtifactError, CheckpointError
from cogkp.families import family_of_plain
from cogkp.files import is_plain_name, read_whole

KIND = "cogkp checkpoint"
LARGEST_COUNT = 2**53
FORMAT_VERSION = 5
IMAGES = "images"
FIRST_WITH_CHECKSUM = 2
FIRST_BYTES = 1 << 20


@attrs.frozen(eq=False, kw_only=True)
class TrainingState:
    """The state that changes while training.

    Args:
        weights: the network's parameters and buffers.
        optimizer: the optimiser's state.
        schedule: the settings of the learning rate's course; the rate is a function of these and the position.
        rng: the state of each global random stream.
        epoch: epochs completed, over the whole life of the run.
        step: steps done in the epoch under way; 0 between epochs.
        target_epochs: the epoch count at which the training is finished.
        means: sums over the epoch under way, from which its means are made; empty between epochs.
        best: 'error' and 'epoch' of the best validation so far, None where there was none.
        average: the moving average of ``weights``, under the same names; None where none is kept.
        averaged_steps: optimiser steps the average has followed.
        scaler: the factor of the loss in fp16 and its counters; empty in other precisions.
        steps_taken: optimiser steps over the whole life of the run, whatever its batch sizes were; None in files of
            before format 5.
    """

    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    rng: Mapping[str, Any]
    epoch: int
    step: int
    target_epochs: int
    means: Mapping[str, Any] = attrs.field(factory=dict)
    best: Mapping[str, Any] | None = None
    average: Mapping[str, Tensor] | None = None
    averaged_steps: int = 0
    scaler: Mapping[str, Any] = attrs.field(factory=dict)
    steps_taken: int | None = None

    @property
    def learned(self) -> Mapping[str, Tensor]:
        """The weights to evaluate and to deploy: the average where there is one."""
        return self.weights if self.average is None else self.average

    @property
    def position(self) -> tuple[int, int]:
        """Epochs completed, and steps done in the one under way."""
        return self.epoch, self.step

    @property
    def finished(self) -> bool:
        """Whether the training reached its target."""
        return self.epoch >= self.target_epochs


@attrs.frozen(eq=False, kw_only=True)
class Provenance:
    """What stays the same during a training: configuration, family, versions and data.

    Args:
        options: the training's options, ready for JSON.
        points: names of the points, in the order of the network.
        num_classes: classes of the mask, None without segmentation.
        data: names of the data set roots.
        fingerprint: what the data was, as :mod:`cogkp.data.dataset` tells it, and under IMAGES what most of the
            training images were like; empty where nobody recorded it.
        family: name of the model family, see :mod:`cogkp.families`; empty in files of before format 5.
        network: the network in a few words, for messages; empty in files of before format 5.
    """

    config: Mapping[str, Any]
    options: Mapping[str, Any]
    points: tuple[str, ...]
    num_classes: int | None
    data: tuple[str, ...]
    run: str = ""
    fingerprint: Mapping[str, Any] = attrs.field(factory=dict)
    family: str = ""
    network: str = ""


@attrs.frozen(eq=False, kw_only=True)
class Checkpoint:
    """The state of a training at one moment."""

    state: TrainingState
    provenance: Provenance
    library: str = attrs.field(factory=lambda: metadata.version("cogkp"))

    @property
    def images(self) -> Mapping[str, Any]:
        """What most of the training images were like: size_wh, bits, brightness; empty where nobody recorded it."""
        seen = self.provenance.fingerprint.get(IMAGES)
        return seen if isinstance(seen, Mapping) else {}

    @property
    def family(self) -> str:
        """Name of the model family; files of before format 5 are known by their configuration."""
        return self.provenance.family or family_of_plain(self.provenance.config)

    def save(self, folder: RunFolder, *, keep_last: int = 1, best: bool = False) -> Path:
        """Write the run's checkpoint and the mirror, each atomically.

        ``keep_last`` saves stay, this one included; ``best`` says whether it becomes the run's best, too.

        Raises:
            OutputError: nothing could be written; the older files stay valid.
        """
        return folder.save(self.to_bytes(), self.state.position, keep_last=keep_last, best=best)

    def to_bytes(self) -> bytes:
        """Return the file's content, with its checksum."""
        content = {
            "kind": KIND,
            "format": FORMAT_VERSION,
            "library": self.library,
            "state": attrs.asdict(self.state, recurse=False),
            "provenance": attrs.asdict(self.provenance, recurse=False),
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return with_checksum(buffer.getvalue())


FIELD_TYPES: dict[type, dict[str, type | tuple[type, ...]]] = {
    TrainingState: {
        "weights": dict,
        "optimizer": dict,
        "schedule": dict,
        "rng": dict,
        "epoch": int,
        "step": int,
        "target_epochs": int,
        "means": dict,
        "best": (dict, type(None)),
        "average": (dict, type(None)),
        "averaged_steps": int,
        "scaler": dict,
        "steps_taken": (int, type(None)),
    },
    Provenance: {
        "config": dict,
        "options": dict,
        "points": tuple,
        "num_classes": (int, type(None)),
        "data": tuple,
        "run": str,
        "fingerprint": dict,
        "family": str,
        "network": str,
    },
}
FILE_TYPES: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "format": int,
    "library": str,
    "state": dict,
    "provenance": dict,
}


def is_checkpoint_file(path: Path) -> bool:
    """Say whether a file is a checkpoint of ours, also a damaged one or one of an older format."""
    with path.open("rb") as stream:
        return KIND.encode() in stream.read(FIRST_BYTES)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU; CheckpointError: missing, cut off, of another kind or version, or not plain."""
    raw = _raw(path)
    content = _current(_parsed(raw, path), path, checked=has_checksum(raw))
    _check_fields(content, FILE_TYPES, path)
    _check_fields(content["state"], FIELD_TYPES[TrainingState], path)
    _check_fields(content["provenance"], FIELD_TYPES[Provenance], path)
    run = content["provenance"]["run"]
    if run and not is_plain_name(run):
        raise CheckpointError(
            "the checkpoint's run is no name", where=str(path), expected="a folder's name", got=repr(run)
        )
    _check_values(content["state"], content["provenance"], path)
    return Checkpoint(
        state=TrainingState(**content["state"]),
        provenance=Provenance(**content["provenance"]),
        library=content["library"],
    )


def _raw(path: Path) -> bytes:
    try:
        return read_whole(path, None)
    except FileNotFoundError:
        raise CheckpointError("there is no such checkpoint", where=str(path)) from None
    except OSError as error:
        raise CheckpointError("the checkpoint cannot be read", where=str(path), got=error.strerror or "") from error


def _parsed(raw: bytes, path: Path) -> Any:
    """Read plain values and tensors; verifies the checksum, if there is one."""
    try:
        return torch.load(
            io.BytesIO(verified(raw) if has_checksum(raw) else raw), map_location="cpu", weights_only=True
        )
    except ArtifactError as error:
        raise _damaged(path, str(error)) from error
    except Exception as error:  # a damaged or foreign file can fail anywhere inside the reader
        raise CheckpointError(
            "the checkpoint is cut off, damaged or holds something else than plain values and tensors",
            where=str(path),
            hint="Nothing in it was run. Restore another file.",
        ) from error


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError("the checkpoint is damaged", where=str(path), got=why, hint="Restore another file.")


LACKING: Mapping[int, Mapping[str, Mapping[str, Any]]] = {
    1: {"state": {"means": {}, "best": None}, "provenance": {"fingerprint": {}}},
    2: {"state": {"average": None, "averaged_steps": 0}},
    3: {"state": {"scaler": {}}},
    4: {"state": {"steps_taken": None}, "provenance": {"family": "", "network": ""}},
}
"""What each older format lacked beside the next one, and what that is in its files."""


def _current(content: Any, path: Path, *, checked: bool) -> dict[str, Any]:
    """Refuse what is no checkpoint, and bring an older one up to date."""
    if not isinstance(content, dict) or content.get("kind") != KIND:
        foreign = isinstance(content, dict) and "state_dict" in content
        hint = "It looks like one of PyTorch Lightning; its tensors have the names of another program." * foreign
        raise CheckpointError("not a checkpoint of this library", where=str(path), hint=hint)
    version = content.get("format")
    if not isinstance(version, int) or not min(LACKING) <= version <= FORMAT_VERSION:
        raise CheckpointError(
            "checkpoint of another format version",
            where=str(path),
            expected=f"{min(LACKING)} to {FORMAT_VERSION}",
            got=f"{version!r}, written by cogkp {content.get('library')}",
            hint="A newer cogkp reads it.",
        )
    if version >= FIRST_WITH_CHECKSUM and not checked:
        raise _damaged(path, "no checksum")
    current = {**content, "format": FORMAT_VERSION}
    for part, added in (each for older in range(version, FORMAT_VERSION) for each in LACKING[older].items()):
        if isinstance(current.get(part), dict):
            current[part] = {**added, **current[part]}
    return current


def _check_values(state: Mapping[str, Any], provenance: Mapping[str, Any], path: Path) -> None:
    """Refuse values that no training writes: a checksum proves that a file is whole, not who wrote it."""
    counts = [state[name] or 0 for name in ("epoch", "step", "target_epochs", "averaged_steps", "steps_taken")]
    names = [*provenance["points"], *provenance["data"]]
    best = state["best"] or {"error": 0.0, "epoch": 0}
    checks = {
        "a count below zero or beyond all measure": all(0 <= count < LARGEST_COUNT for count in counts),
        "a name that is no text": all(isinstance(name, str) for name in names),
        "a best validation without error and epoch": isinstance(best.get("error"), int | float)
        and isinstance(best.get("epoch"), int),
        "weights that are not real numbers by name": are_weights(state["weights"])
        and are_weights(state["average"] or {}),
    }
    if wrong := [what for what, good in checks.items() if not good]:
        raise CheckpointError("the checkpoint's values are not as expected", where=str(path), got="; ".join(wrong))


def are_weights(content: Mapping[Any, Any]) -> bool:
    """Tell whether a mapping holds dense tensors of real numbers by name, and nothing else."""
    return all(
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_complex() or value.is_quantized)
        for name, value in content.items()
    )


def _check_fields(found: Mapping[str, Any], wanted: Mapping[str, type | tuple[type, ...]], path: Path) -> None:
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    wrong = sorted(name for name in wanted.keys() & found.keys() if not isinstance(found[name], wanted[name]))
    complaints = [
        f"{problem} {', '.join(map(str, names))}"
        for problem, names in (("missing", missing), ("unknown", unknown), ("wrongly typed", wrong))
        if names
    ]
    if complaints:
        raise CheckpointError("the checkpoint has unexpected fields", where=str(path), got="; ".join(complaints))


def load_weights(checkpoint: Checkpoint, model: nn.Module, where: str, *, averaged: bool = False) -> None:
    """Put the checkpoint's weights into a network, which is untouched unless every tensor finds its place.

    The moving average, where there is one, is taken if ``averaged``, as evaluation and deployment do; training goes on
    with the weights themselves.

    Raises:
        CheckpointError: names, shapes or kinds of tensors differ.
    """
    weights = checkpoint.state.learned if averaged else checkpoint.state.weights
    difference = _difference(weights, model.state_dict())
    if difference:
        provenance = checkpoint.provenance
        classes = "no mask" if provenance.num_classes is None else f"{provenance.num_classes} mask classes"
        raise CheckpointError(
            "the checkpoint does not fit this network",
            where=where,
            got=difference,
            hint=f"It was trained for {len(provenance.points)} points ({', '.join(provenance.points)}) and {classes}"
            + (f", with {provenance.network}." if provenance.network else "."),
        )
    model.load_state_dict(dict(weights), strict=True)


def _difference(saved: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> str:
    """Say in a few words how the two differ; empty when they do not."""
    missing, unknown = sorted(wanted.keys() - saved.keys()), sorted(saved.keys() - wanted.keys())
    shaped = [name for name in wanted if name in saved and _shape(saved[name]) != _shape(wanted[name])]
    strange = (("tensors missing", missing), ("tensors unknown", unknown))
    parts = [f"{len(names)} {problem} (first: {names[0]})" for problem, names in strange if names]
    if shaped:
        name = shaped[0]
        parts.append(f"{name} has shape {_shape(saved[name])} instead of {_shape(wanted[name])}")
        parts += [f"{len(shaped) - 1} more differ in shape"] if len(shaped) > 1 else []
    return "; ".join(parts)


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None
