"""Which room may import what: the table of docs/architecture.md, kept by reading every import statement."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


class Room(NamedTuple):
    """What the modules of one room may import: rooms of ours, and packages of others beside the standard library."""

    ours: frozenset[str]
    others: frozenset[str]


def room(ours: str, others: str) -> Room:
    return Room(frozenset(ours.split()), frozenset(others.split()))


ROOMS = {
    "errors": room("", "attrs"),
    "lazy": room("", ""),
    "progress": room("", ""),
    "files": room("errors", ""),
    "families": room("errors", "attrs"),
    "config": room("errors files", "attrs cattrs yaml"),
    "config.keypoint": room("errors files config", "attrs"),
    "config.centerpose": room("errors files config", "attrs"),
    "geometry": room("errors", "attrs numpy torch"),
    "geometry.pnp": room("errors geometry", "attrs cv2 numpy torch"),
    "data": room("errors files progress config geometry", "attrs cv2 numpy tomli tomllib torch yaml"),
    "data.keypoint": room("errors files progress config config.keypoint geometry data", "attrs cv2 numpy torch yaml"),
    "data.boxes": room("errors files progress config geometry data", "attrs cv2 numpy torch"),
    "models": room("errors geometry.heatmap", "torch"),
    "measures": room("errors", "attrs numpy"),
    "tasks.base": room(
        "errors config geometry data models measures inference.processor visual.marks", "attrs numpy torch"
    ),
    "tasks.keypoint": room(
        "errors config config.keypoint geometry data data.keypoint models measures tasks.base inference.processor "
        "visual",
        "attrs cv2 numpy torch",
    ),
    "tasks.centerpose": room(
        "errors config config.centerpose geometry geometry.pnp data data.boxes measures models tasks.base "
        "inference.processor visual",
        "attrs numpy torch",
    ),
    "tasks.registry": room("families tasks.base", ""),
    "artifacts": room("errors families files config tasks.base", "attrs cattrs numpy torch"),
    "training": room(
        "errors files progress config geometry data tasks.base artifacts", "attrs numpy tensorboardX torch"
    ),
    "exporter": room(
        "errors files progress config tasks.base artifacts", "attrs google numpy onnx tensorrt tensorrt_rtx torch"
    ),
    "inference": room(
        "errors families files progress geometry data.calibration data.images tasks.base artifacts visual",
        "attrs cv2 numpy onnx onnxruntime tensorrt tensorrt_rtx torch",
    ),
    "inference.processor": room("errors", "numpy"),
    "visual": room("errors files measures", "attrs cv2 numpy"),
    "drawing": room("errors data geometry measures tasks.base training.evaluator visual", "attrs cv2 numpy torch"),
    "workflows": room(
        "errors families files progress config geometry data measures tasks artifacts training exporter inference "
        "visual drawing",
        "attrs cv2 numpy torch",
    ),
    "workflows.prediction": room(
        "errors files progress config config.keypoint geometry data data.keypoint artifacts inference visual "
        "workflows.printing",
        "attrs cv2 numpy",
    ),
    "workflows.families.keypoint": room(
        "errors families files progress config config.keypoint geometry data data.keypoint models measures tasks "
        "tasks.keypoint artifacts training exporter inference visual drawing workflows",
        "attrs cv2 numpy torch",
    ),
    "workflows.families.centerpose": room(
        "errors families files progress config config.centerpose geometry data data.boxes models measures tasks "
        "tasks.centerpose artifacts training exporter inference visual drawing workflows",
        "attrs cv2 numpy torch",
    ),
    "demonstration": room(
        "errors files progress config config.keypoint data data.keypoint artifacts training drawing workflows", "attrs"
    ),
    "front door": room(
        "errors lazy families config config.keypoint config.centerpose geometry data data.keypoint models inference "
        "workflows workflows.families.keypoint demonstration",
        "",
    ),
    "cli_api": room(
        "lazy progress config config.keypoint data.boxes exporter training.distributed workflows "
        "workflows.families.centerpose",
        "",
    ),
    "cli": room("errors files progress cli_api", "attrs rich typer"),
    "cli.window": room("files", "cv2"),
}

FAMILY_ROOMS = {f"{room}.{family}" for room in ("config", "tasks") for family in ("keypoint", "centerpose")}
FAMILY_ROOMS |= {f"workflows.families.{family}" for family in ("keypoint", "centerpose")}
FAMILY_ROOMS |= {"data.keypoint", "data.boxes"}
"""Rooms of one family; siblings never import each other, and what both share never imports them."""
_ABOVE_FAMILIES = {room.rpartition(".")[0] for room in FAMILY_ROOMS} | {"workflows"}

FRONT_DOOR = "front door"
PACKAGES = {"cogkp": ROOT / "cogkp", "cogkp_cli": ROOT / "cli" / "cogkp_cli"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of ours by the name the table uses: `cli` for cogkp_cli, the front door for the package itself."""
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            if package == "cogkp_cli":
                name = f"cli.{name}".rstrip(".")
            yield name or FRONT_DOOR, path


NAMES = {name for name, _ in modules()}


def room_of(name: str) -> str | None:
    """The most specific room a module belongs to; packages that only hold rooms belong to none."""
    found = [key for key in ROOMS if name == key or name.startswith(f"{key}.")]
    return max(found, key=len, default=None)


def imported(path: Path) -> Iterator[str]:
    """Full names as written; `from a.b import c` gives a.b.c where that is a module of ours, else a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: relative import"
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full.removeprefix("cogkp.") in NAMES else node.module


def ours(name: str) -> str | None:
    """The name by which the table knows a module of ours; None for a package of somebody else."""
    package, _, rest = name.partition(".")
    if package == "cogkp":
        return rest or FRONT_DOOR
    return f"cli.{rest}".rstrip(".") if package == "cogkp_cli" else None


def allowed(importer: str, name: str) -> bool:
    own_room = room_of(importer)
    assert own_room is not None
    table = ROOMS[own_room]
    target = ours(name)
    if target is None:
        package = name.split(".")[0]
        return package in sys.stdlib_module_names or package in table.others
    if own_room in ("cli", "cli.window"):
        return target == FRONT_DOOR or target.startswith("cli") or target in table.ours
    keys = [key for key in {own_room, *table.ours} if target == key or target.startswith(f"{key}.")]
    room_of_target = room_of(target)
    # What belongs to one family must be named as such; naming the room above it is not enough.
    return any(key.startswith(str(room_of_target)) for key in keys) if room_of_target in FAMILY_ROOMS else bool(keys)


@pytest.mark.parametrize(("name", "path"), [pytest.param(*found, id=found[0]) for found in modules()])
def test_module_keeps_to_its_room(name: str, path: Path) -> None:
    names = set(imported(path))
    if name == "tasks":  # the package that holds three rooms
        assert not names
        return
    assert room_of(name) is not None, f"{name} belongs to no room of docs/architecture.md"
    assert {other for other in names if not allowed(name, other)} == set()


def test_architecture_page_shows_this_table() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w. ]+)` \| ([^|]*) \| ([^|]*) \|", text, flags=re.MULTILINE)
    shown = {name: Room(*(frozenset(re.findall(r"`([\w.]+)`", cell)) for cell in cells)) for name, *cells in rows}
    assert shown == ROOMS


def test_order_is_one_way() -> None:
    """No room can reach itself: the table itself holds no ring."""
    reach = {
        key: {other for other in ROOMS if room_of_target(other, value.ours)} - {key} for key, value in ROOMS.items()
    }
    reach["geometry"].discard("geometry.pnp")  # a part of the room
    for _ in ROOMS:
        reach = {key: found.union(*(reach[other] for other in found)) for key, found in reach.items()}
    assert [key for key, found in reach.items() if key in found] == []


def room_of_target(name: str, allowed_rooms: frozenset[str]) -> bool:
    return name in allowed_rooms or any(name.startswith(f"{key}.") for key in allowed_rooms - _ABOVE_FAMILIES)


@pytest.mark.parametrize(
    ("importer", "name", "verdict"),
    [
        ("geometry.warp", "torch", True),
        ("geometry.warp", "cv2", False),
        ("geometry.pnp", "cv2", True),
        ("config.plain", "torch", False),
        ("config.plain", "cogkp.config.keypoint.spec", False),
        ("config.keypoint.io", "cogkp.config.centerpose.io", False),
        ("data.loader", "cogkp.data.keypoint.records", False),
        ("data.boxes.reader", "cogkp.data.keypoint.records", False),
        ("workflows.train", "cogkp.config.keypoint.spec", False),
        ("workflows.train", "cogkp.workflows.families.keypoint", False),
        ("workflows.families.keypoint", "cogkp.config.keypoint.spec", True),
        ("workflows.families.keypoint", "cogkp.tasks.centerpose.task", False),
        ("models.keypoint", "cogkp.geometry.heatmap", True),
        ("models.keypoint", "cogkp.geometry.warp", False),
        ("training.trainer", "cogkp.tasks.keypoint.task", False),
        ("tasks.centerpose.losses", "cogkp.tasks.keypoint.losses", False),
        ("exporter.onnx_export", "cogkp.inference.parity", False),
        ("workflows", "cogkp.tasks.registry", True),
        ("cli.keypoint", "cogkp", True),
        ("cli.keypoint", "cogkp.cli_api", True),
        ("cli.keypoint", "cogkp.training.trainer", False),
        ("cli.keypoint", "torch", False),
        ("artifacts.runs", "json", True),
    ],
)
def test_table_is_read_as_meant(importer: str, name: str, verdict: bool) -> None:
    assert allowed(importer, name) is verdict


def test_shim_imports_only_typer_and_itself_on_start() -> None:
    for path in PACKAGES["cogkp_cli"].glob("*.py"):
        tops = [
            node
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = {alias.name for node in tops if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in tops if isinstance(node, ast.ImportFrom)}
        packages = {name.split(".")[0] for name in names} - sys.stdlib_module_names
        assert packages <= {"typer", "cogkp", "cogkp_cli"}, path
