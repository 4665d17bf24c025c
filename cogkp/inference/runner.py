"""The interface of everything that runs a deployed model: {name: array} in, {name: array} out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cogkp.artifacts.manifest import InputFacts, OutputFacts, Shape, Signature
from cogkp.errors import ArtifactError, ModelError

Array = npt.NDArray[Any]
Described = tuple[str, Shape, str]
"""Name, shape and numpy dtype word of one input or output."""

RunnerT = TypeVar("RunnerT", bound="Runner")


class Runner(ABC):
    """A model that runs while it is open.

    Args:
        signature: what goes in and what comes out.

    Example of use: ``with OnnxRuntimeRunner(path) as runner: outputs = runner.infer({"input": images})``.
    """

    name: str
    """Word for messages."""
    device: str = "cpu"
    """Where it computes."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self._is_open = False

    def __enter__(self: RunnerT) -> RunnerT:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Load the model; opening twice changes nothing."""
        if not self._is_open:
            self._load()
            self._is_open = True

    def close(self) -> None:
        """Give memory and devices back; closing twice changes nothing."""
        if self._is_open:
            self._is_open = False
            self._unload()

    @property
    def rows(self) -> tuple[int, int | None]:
        """Fewest and most rows of one batch; None where there is no limit."""
        length: Any = self.signature.inputs[0].shape[0]
        return (length, length) if isinstance(length, int) else (1, None)

    def infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model on one batch.

        Args:
            feed: one array per input, of the declared shape and dtype; left unchanged.

        Returns:
            One array per output, in declared order; the caller owns them.

        Raises:
            ModelError: the runner is closed, or ``feed`` is not what the model takes.
        """
        if not self._is_open:
            raise ModelError("runner is closed", where=self.name, hint="Use it inside a with block, or call open().")
        _require_feed(self.signature.inputs, feed, self.name)
        # Copied, since not every backend takes read-only memory and a network may work in place.
        return self._run({entry.name: np.array(feed[entry.name], order="C") for entry in self.signature.inputs})

    @abstractmethod
    def _load(self) -> None: ...

    @abstractmethod
    def _unload(self) -> None: ...

    @abstractmethod
    def _run(self, feed: Mapping[str, Array]) -> dict[str, Array]: ...


def require_same(signature: Signature, found: Sequence[Described], where: str) -> None:
    """Compare what a file offers with what was declared for it; ArtifactError names the first difference."""
    offers = {name: (shape, dtype) for name, shape, dtype in found}
    declared: tuple[InputFacts | OutputFacts, ...] = (*signature.inputs, *signature.outputs)
    for entry in declared:
        if offers.pop(entry.name, None) != (entry.shape, entry.dtype):
            raise ArtifactError(
                f"model does not have {entry.name!r} as declared",
                where=where,
                expected=f"{entry.dtype} {list(entry.shape)}",
                got=_offered(entry.name, found),
                hint="Deploy again, so that model and manifest are written together.",
            )
    if offers:
        raise ArtifactError("model has undeclared inputs or outputs", where=where, got=", ".join(sorted(offers)))


def _offered(name: str, found: Sequence[Described]) -> str:
    match = next((f"{dtype} {list(shape)}" for other, shape, dtype in found if other == name), None)
    return match or "only " + ", ".join(other for other, _, _ in found)


def _require_feed(inputs: tuple[InputFacts, ...], feed: Mapping[str, Array], where: str) -> None:
    names = [entry.name for entry in inputs]
    if sorted(feed) != sorted(names):
        raise ModelError("wrong inputs", where=where, expected=", ".join(names), got=", ".join(feed) or "nothing")
    for entry in inputs:
        array = feed[entry.name]
        if not _fits(array.shape, entry.shape) or array.dtype != np.dtype(entry.dtype):
            raise ModelError(
                f"input {entry.name!r} does not fit",
                where=where,
                expected=f"{entry.dtype} {list(entry.shape)}",
                got=f"{array.dtype} {list(array.shape)}",
            )


def _fits(found: tuple[int, ...], declared: Shape) -> bool:
    """Compare shapes; an axis that is declared as a word has any length but 0."""
    return len(found) == len(declared) and all(
        length > 0 if isinstance(wanted, str) else length == wanted
        for length, wanted in zip(found, declared, strict=True)
    )
