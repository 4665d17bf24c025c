"""Where the results of images go: in a tree that mirrors that of the images, apart from them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cogkp.errors import OutputError


def names_of(images: Sequence[Path], root: Path, taken: Sequence[str] = ()) -> list[tuple[Path, str]]:
    """Pair each image with the path of its results below their folder, without the last suffix, as the images lie.

    Where two images of one folder share a stem, or one has a name that is ``taken`` (in lower case), the results of
    that folder keep the whole names: ``a.png.json`` beside ``a.jpg.json``.

    Example:
        >>> images = [Path("in/a/0.jpg"), Path("in/b/0.jpg"), Path("in/b/0.png")]
        >>> [name for _, name in names_of(images, Path("in"))]
        ['a/0', 'b/0.jpg', 'b/0.png']
    """
    names = [image.relative_to(root) for image in images]
    stems = Counter((name.parent, name.stem.lower()) for name in names)
    crowded = {folder for (folder, _), count in stems.items() if count > 1}
    crowded |= {name.parent for name in names if name.with_suffix("").as_posix().lower() in taken}
    chosen = [(name if name.parent in crowded else name.with_suffix("")).as_posix() for name in names]
    return list(zip(images, chosen, strict=True))


def require_apart(results: Path, images: Path, hint: str = "Give another output_dir.") -> None:
    """Refuse results (OutputError) that would lie among the images or hold them, before anything is written."""
    ends = results.resolve(), images.resolve()
    if any(one in (other, *other.parents) for one, other in (ends, ends[::-1])):
        raise OutputError(
            "results would be written among the images",
            where=str(results),
            expected=f"a folder that neither holds {images} nor lies in it",
            hint=hint,
        )
