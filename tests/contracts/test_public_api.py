"""The names and signatures users may rely on."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cogkp


def signature(value: Any) -> str:
    """The signature, without the addresses that some defaults show."""
    return re.sub(r"<(\S+) object at 0x[0-9a-f]+>", r"<\1>", str(inspect.signature(value)))


def described(value: Any) -> str:
    if inspect.isfunction(value):
        return f"def {signature(value)}"
    if inspect.isclass(value):
        return "protocol" if getattr(value, "_is_protocol", False) else f"class {signature(value)}"
    return "value"


def test_names_and_signatures(snapshot: Callable[[str, dict[str, Any]], None]) -> None:
    snapshot("public_api", {name: described(getattr(cogkp, name)) for name in cogkp.__all__})


@pytest.mark.parametrize("name", cogkp.__all__)
def test_each_name_resolves_and_says_what_it_is(name: str) -> None:
    value = getattr(cogkp, name)
    if inspect.isfunction(value) or inspect.isclass(value):
        assert (value.__doc__ or "").strip()


def test_dir_shows_the_names() -> None:
    assert set(cogkp.__all__) | {"__version__"} == set(dir(cogkp))
    assert sorted(set(cogkp.__all__)) == sorted(cogkp.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = cogkp.evalute


def test_second_use_costs_nothing() -> None:
    assert cogkp.CogkpError is cogkp.CogkpError
    assert "CogkpError" in vars(cogkp)


def test_no_verb_has_the_name_of_a_room() -> None:
    """Importing a room sets an attribute of its name, which would take the place of the verb."""
    rooms = {path.stem for path in Path(cogkp.__file__).parent.iterdir()}
    assert rooms & set(cogkp.__all__) == set()
