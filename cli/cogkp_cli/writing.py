"""Protect existing files of others from being overwritten by a command."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from cogkp.files import overwriting

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Also replace files that this program did not write.")]


def writing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flag ``--overwrite``; the library asks for it wherever it writes."""

    @functools.wraps(command)
    def call(*args: Any, overwrite: bool, **kwargs: Any) -> None:
        with overwriting(overwrite):
            command(*args, **kwargs)

    flag = inspect.Parameter("overwrite", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Overwrite)
    signature = inspect.signature(command, eval_str=True)
    parameters = [*signature.parameters.values(), flag]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call
