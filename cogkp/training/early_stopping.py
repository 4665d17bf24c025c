"""Early stopping: end a training when the validation error no longer improves."""

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Patience:
    """Stop after so many validations without a better one.

    There is one validation per epoch, so the position and the best validation, which are both part of a checkpoint, say
    all: a restored training stops where the undisturbed one would have.

    Args:
        limit: validations; 0 waits for ever.
        first_epoch: epochs completed before the present course of the learning rate; a new course starts the wait anew.
    """

    limit: int
    first_epoch: int

    def reason(self, epoch: int, best: Mapping[str, Any] | None) -> str:
        """Say why the training ends here; empty while it goes on.

        Args:
            epoch: epochs completed.
            best: 'error' and 'epoch' of the best validation, None where none can be compared.
        """
        if not self.limit or best is None or epoch - max(best["epoch"], self.first_epoch) < self.limit:
            return ""
        return (
            f"stopped early after epoch {epoch}: no validation was better than the error {best['error']:.4g} "
            f"of epoch {best['epoch']}, patience {self.limit}"
        )
