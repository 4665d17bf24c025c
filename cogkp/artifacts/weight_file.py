"""Read pretrained weights: our checkpoints, state dicts, PyTorch Lightning checkpoints and published ImageNet weights.

Nothing is downloaded. Files are read with ``weights_only=True`` alone, so that one from elsewhere can never run code.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import attrs
import torch
from torch import Tensor

from cogkp.artifacts.checkpoint import KIND, are_weights, load_checkpoint
from cogkp.artifacts.names import file_sha256
from cogkp.config.issues import short_repr
from cogkp.errors import CheckpointError

IMAGENET = "imagenet"
HASHED_NAME = re.compile(r".+-([0-9a-f]{8,64})\.pth")


@attrs.frozen(eq=False)
class WeightFile:
    """Weights by name, and what they are.

    Args:
        weights: on the CPU; the averaged ones where the file has them.
        origin: in words.
    """

    path: Path
    weights: Mapping[str, Tensor]
    origin: str


def find_weights(source: str, published: str) -> Path:
    """Find the file that a path names, or 'imagenet' the file ``published`` in torch's hub cache.

    Raises:
        CheckpointError: there is no such file; says what was looked for and where to put it.
    """
    if source != IMAGENET:
        path = Path(source)
        if not path.is_file():
            hint = f"Name a file, or '{IMAGENET}' for {published} in torch's hub cache. Nothing is downloaded."
            raise CheckpointError("there is no such file of weights", where=source, hint=hint)
        return path
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    path = cache / published
    if not path.is_file():
        raise CheckpointError(
            "the ImageNet weights are not in torch's hub cache, and nothing is downloaded",
            where=str(cache),
            expected=f"the file {published}",
            got=_beside(cache, published),
            hint=f"Copy it to {path}, or name the place where it lies. TORCH_HOME moves the cache.",
        )
    return path


def read_weights(path: Path) -> WeightFile:
    """Read a checkpoint of ours, a state dict, or the state dict inside a checkpoint of PyTorch Lightning.

    Raises:
        CheckpointError: the file is damaged, is not what its name says, or holds more than names and tensors.
    """
    content = _content(path)
    if isinstance(content, Mapping) and content.get("kind") == KIND:
        checkpoint = load_checkpoint(path)  # verifies the checksum and brings older formats up to date
        origin = f"run {checkpoint.provenance.run or 'without a name'}, trained for {len(checkpoint.provenance.points)}"
        return WeightFile(path, checkpoint.state.learned, f"{origin} points")
    _check_name(path)
    origin = "a state dict"
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content, origin = content["state_dict"], "a checkpoint of PyTorch Lightning"
    if not isinstance(content, Mapping) or not content:
        raise _foreign(path, type(content).__name__)
    wrong = [short_repr(name) for name, value in content.items() if not are_weights({name: value})]
    if wrong:
        raise _foreign(path, f"{wrong[0]} and {len(wrong) - 1} more that are none" if wrong[1:] else wrong[0])
    return WeightFile(path, {name: tensor.detach() for name, tensor in content.items()}, origin)


def _content(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise CheckpointError("the file of weights cannot be read", where=str(path), got=why) from error
    except Exception as error:  # a damaged or foreign file can fail anywhere inside the reader
        raise CheckpointError(
            "the file of weights is cut off, damaged or holds something else than plain values and tensors",
            where=str(path),
            hint="Nothing in it was run. Fetch it again or take another.",
        ) from error


def _check_name(path: Path) -> None:
    """Compare the SHA-256 in the name of a published file with its content."""
    match = HASHED_NAME.fullmatch(path.name)
    if match is None:
        return
    digest = file_sha256(path)
    if not digest.startswith(match[1]):
        raise CheckpointError(
            "the file of weights is not what its name says",
            where=str(path),
            expected=f"a SHA-256 that begins with {match[1]}",
            got=digest,
            hint="Fetch it again; or, where the digits are no hash, rename it.",
        )


def _beside(cache: Path, published: str) -> str:
    """Say what the cache holds of the same network."""
    stem = published.split("-", 1)[0]
    others = sorted(path.name for path in cache.glob(f"{stem}*"))
    if others:
        return ", ".join(others)
    return "no file of that network" if cache.is_dir() else "no such folder"


def _foreign(path: Path, got: str) -> CheckpointError:
    return CheckpointError("the file holds no weights", where=str(path), expected="names and tensors alone", got=got)
