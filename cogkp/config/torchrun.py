"""Read rank and number of processes from the environment that ``torchrun`` sets."""

import os
from collections.abc import Mapping

import attrs

from cogkp.errors import ConfigError, Problem


@attrs.frozen
class Launch:
    """Rank of this process, from 0, how many train together on all machines, and its rank on its own machine."""

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.ranks}"


ALONE = Launch()
"""A process that was started by itself."""


def launched(environment: Mapping[str, str] | None = None) -> Launch:
    """Read rank and number of ranks from the environment.

    Args:
        environment: the process's own when None.

    Raises:
        ConfigError: RANK, WORLD_SIZE and LOCAL_RANK contradict each other.

    Example:
        >>> launched({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
        Launch(rank=3, ranks=4, local_rank=1)
        >>> launched({}) == ALONE
        True
    """
    found = os.environ if environment is None else environment
    if found.get("WORLD_SIZE", "1") == "1":
        return ALONE
    variables = {name: found.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    numbers = [int(text) if text.isdecimal() else -1 for text in variables.values()]
    launch = Launch(numbers[0], numbers[1], numbers[2])
    if not 0 <= launch.local_rank <= launch.rank < launch.ranks:
        problem = Problem(
            "the environment does not say which rank this process has",
            expected="RANK below WORLD_SIZE, and LOCAL_RANK no larger than RANK",
            got=", ".join(f"{name}={text or 'unset'}" for name, text in variables.items()),
            hint="Start with torchrun, or unset WORLD_SIZE to train in one process.",
        )
        raise ConfigError([problem])
    return launch
