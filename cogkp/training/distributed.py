"""Distributed work with torchrun: joining the ranks, collective operations, and which rank reports an error.

In training each rank reads its part of every batch, and all of them take the same step; evaluations and predictions
share out whole batches. The first rank alone writes reports and speaks.
Everything goes through plain torch.distributed; docs/decisions/0010-distributed.md says why.

BatchNorm counts the images of all ranks, as PyTorch's own SyncBatchNorm does on CUDA alone.
"""

from __future__ import annotations

import atexit
import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, cast

import attrs
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from cogkp.config.torchrun import ALONE, Launch, launched
from cogkp.errors import CogkpError, RankError, TrainingError

IMAGE_AXES = (0, 2, 3)

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others: a slow disk is no fault, and a dead process is noticed in other ways."""

FAILED = "cogkp/failed"
log = logging.getLogger("cogkp")


class StepBatchNorm(nn.BatchNorm2d):
    """BatchNorm with the statistics of the whole optimiser step; in evaluation mode the plain one."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (B, C, h, w) of this rank, at least one image.

        Gradient: flows to the features of every rank.

        Precision: float32 or better, also under autocast; statistics of the ranks are joined in float64.
        """
        if not self.training:
            return super().forward(features)
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        mean, variance, count = _statistics(values)
        self._follow(mean.detach(), variance.detach() * count / (count - 1.0))
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        normal = torch.addcmul(_spread(shift, values), values, _spread(scale, values))
        return normal.to(features.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as the plain layer does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def _statistics(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), biased variance (C,) and count () of all ranks' values per channel, float64."""
    variance, mean = (each.double() for each in torch.var_mean(features, IMAGE_AXES, correction=0))
    count = mean.new_full((1,), features.numel() / features.shape[1])
    own = torch.cat([count * mean, count * (variance + mean.square()), count])
    total: Tensor = _Sum.apply(own)  # type: ignore[no-untyped-call]
    size = total[-1]
    mean, square = (total[:-1] / size).chunk(2)
    return mean, square - mean.square(), size.detach()


def _spread(channels: Tensor, values: Tensor) -> Tensor:
    return channels.to(values.dtype)[None, :, None, None]


class _Sum(torch.autograd.Function):
    """Add up over the ranks. What each rank's loss asks of the sum is added up, too, on the way back."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        return Ranks.here().sum(tensor)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        return Ranks.here().sum(gradients[0])


def normalise_over_ranks(model: nn.Module, wanted: bool) -> None:
    """Let every BatchNorm take the statistics of all ranks, or again those of this process alone.

    Layers stay where they are, with their parameters, buffers and names; only what they are changes.
    """
    for module in model.modules():
        if type(module) in (nn.BatchNorm2d, StepBatchNorm):
            module.__class__ = StepBatchNorm if wanted else nn.BatchNorm2d


@attrs.frozen
class Ranks:
    """The processes of one training or other work, as seen from one of them.

    All methods are collective: every rank calls them, in the same order. Where there is one rank they do nothing.
    """

    launch: Launch = ALONE

    @classmethod
    def here(cls) -> Ranks:
        """Return the ranks this process joined, itself alone where it joined none."""
        return cls(launched()) if dist.is_available() and dist.is_initialized() else cls()

    @property
    def alone(self) -> bool:
        """Whether there is one rank only."""
        return self.launch.ranks == 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.launch.first

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up tensors of one shape; every rank gets the same bits. No gradient flows."""
        return self._reduced(tensor, dist.ReduceOp.SUM)

    def least(self, number: int) -> int:
        """Return the smallest of the ranks' numbers."""
        return number if self.alone else int(self._reduced(torch.tensor(number), dist.ReduceOp.MIN))

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Say of each flag whether any rank raised it."""
        if self.alone:
            return flags
        raised: list[bool] = self._reduced(torch.tensor(flags, dtype=torch.int32), dist.ReduceOp.MAX).bool().tolist()
        return tuple(raised)

    def _reduced(self, tensor: Tensor, operation: Any) -> Tensor:
        if self.alone:
            return tensor
        result = tensor.detach().clone()
        with _answered():
            dist.all_reduce(result, operation)
        return result

    def gather(self, value: R) -> list[R]:
        """Return the values of all ranks, in the order of the ranks; they are pickled."""
        if self.alone:
            return [value]
        found: list[Any] = [None] * self.launch.ranks
        with _answered():
            dist.all_gather_object(found, value)
        return cast(list[R], found)

    def from_first(self, make: Callable[[], R]) -> R:
        """Compute a value on the first rank and broadcast it to the others."""
        if self.alone:
            return make()
        held: list[Any] = [make() if self.first else None]
        with _answered():
            dist.broadcast_object_list(held)
        return cast(R, held[0])

    def joint(self, part: Callable[[], R], whole: Callable[[list[R]], S]) -> S:
        """Let every rank do its part, and the first one make a whole of the parts, which all ranks get.

        Raises:
            CogkpError: a part or the whole failed. The first rank raises it once all parts are done, and the others a
                :class:`RankError`.
        """
        if self.alone:
            return whole([part()])
        outcomes = self.gather(_outcome(part))
        return self.from_first(lambda: whole(list(_required(outcomes))))

    def copy_first(self, model: nn.Module) -> None:
        """Broadcast the first rank's parameters and buffers."""
        if self.alone:
            return
        with _answered():
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over the ranks, in place and in one message."""
        if self.alone:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        total = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(total, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def require_same(self, value: Any, what: str) -> None:
        """Refuse to go on (TrainingError) where the ranks hold different values."""
        found = self.gather(value)
        others = [rank for rank, other in enumerate(found) if other != found[0]]
        if others:
            raise TrainingError(
                f"the ranks do not have the same {what}",
                got=f"another {what} on rank {', '.join(map(str, others))} than on rank 0",
                hint="Give every machine the same files.",
            )

    def only_first(self, error: Exception) -> Exception:
        """Choose what to raise where every rank meets the same error: only the first rank reports it."""
        return error if self.first else self.reported_elsewhere()

    def reported_elsewhere(self) -> RankError:
        """Return the error to raise where another rank reports the cause."""
        return RankError.beside_the_point()


SINGLE = Ranks()
"""One process that works by itself."""


def _outcome(part: Callable[[], R]) -> R | CogkpError:
    """Return what a part gives, also where that is an error: one that is raised would keep the others waiting."""
    try:
        return part()
    except CogkpError as error:
        return error


def _required(outcomes: Iterable[R | CogkpError]) -> Iterator[R]:
    for outcome in outcomes:
        if isinstance(outcome, CogkpError):
            raise outcome
        yield outcome


@contextmanager
def _answered() -> Iterator[None]:
    """Turn torch's error about a lost rank into one line."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise RankError(
            "another rank is gone, or does not answer",
            got=str(error).splitlines()[0],
            hint="If it reported nothing itself, it was killed, for example for lack of memory.",
        ) from error


def together(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function join the other ranks before it begins; see :func:`joined`."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with joined():
            return function(*args, **kwargs)

    return call


@contextmanager
def joined() -> Iterator[Ranks]:
    """Meet the other processes that ``torchrun`` started; a process by itself goes on alone.

    The group is left when the process ends, so that several trainings may follow each other. Where an error ends
    several ranks, one of them raises it; the others raise a :class:`RankError` that needs no words.

    Raises:
        TrainingError: there is no such group, or no GPU for this rank.
    """
    launch = launched()
    if launch.ranks == 1:
        yield Ranks()
        return
    store = _meet(launch)
    level = log.level
    log.setLevel(level if launch.first else logging.ERROR)
    try:
        yield Ranks(launch)
    except RankError as error:
        raise (
            error if not error.reported and _reports_first(store, launch) else RankError.beside_the_point()
        ) from error
    except Exception as error:
        if _reports_first(store, launch):
            raise
        raise RankError.beside_the_point() from error
    finally:
        log.setLevel(level)


@functools.cache
def _meet(launch: Launch) -> Any:
    """Wait for the other ranks, once in the life of a process; return the place where all can leave notes."""
    on_gpu = torch.cuda.is_available()
    if on_gpu and launch.local_rank >= torch.cuda.device_count():
        raise TrainingError(
            "there is no GPU for this rank",
            where=str(launch),
            expected=f"at most {torch.cuda.device_count()} processes on this machine, one per GPU",
            got=f"{launch.local_rank + 1} or more",
            hint="Lower --nproc-per-node, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on processors.",
        )
    if on_gpu:
        torch.cuda.set_device(launch.local_rank)
    try:
        store, rank, ranks = next(iter(rendezvous("env://", timeout=PATIENCE)))
        # Words and flags travel between processors also where tensors travel between GPUs: no GPU is kept waiting.
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            "the ranks cannot connect", where=str(launch), got=str(error).splitlines()[0], hint="Start with torchrun."
        ) from error
    atexit.register(dist.destroy_process_group)
    return store


def _reports_first(store: Any, launch: Launch) -> bool:
    """Claim the report of the error that ends the work; only the first rank to ask gets it."""
    with suppress(RuntimeError):
        return bool(store.compare_set(FAILED, "", str(launch.rank)) == str(launch.rank).encode())
    return True  # the process that kept the store is gone
