"""Ask whether a network is only traced: its shapes are then no numbers that a check could judge."""

import torch

# torch before 2.7 has no such question, and no exporter here that would need it.
_is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)


def is_traced() -> bool:
    """Whether the call comes from an exporter, be it the TorchScript tracer or torch.export."""
    return bool(torch.jit.is_tracing() or _is_exporting())  # type: ignore[attr-defined, no-untyped-call]
