"""Every error the library raises on purpose, drawn first as a tree.

CogkpError
├── ConfigError        a configuration file or object is wrong (all problems at once)
├── DataError          a data set, its labels or its images are wrong
│   └── ImageError     one image or mask file cannot be used
├── GeometryError      a shape, a camera or a map is not what geometry needs
├── ModelError         a network was asked for something it cannot be
├── ArtifactError      a file we wrote earlier cannot be used
│   └── CheckpointError
├── OutputError        a result cannot be written where it was asked to go
├── TrainingError      training cannot start or cannot go on
│   └── RankError      another of the processes that train together has ended
├── EvaluationError    an evaluation would be empty or without meaning
│   └── NotFiniteError  the network's predictions are NaN or infinite
└── ExportError        a deployed model cannot be made
    ├── ParityError    the exported model disagrees with its source
    └── EngineError    the inference engine cannot be built

A message reads: what is wrong @ where: expected ..., got .... What to do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import attrs

# Control characters, invisible marks, changes of the writing direction, breaks of lines, and halves of characters;
# the joiners of Persian and Indian scripts (U+200C, U+200D) are letters to those who need them.
OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff\ud800-\udfff]"
)


@attrs.frozen
class Problem:
    """One thing that is wrong, as data; ``str()`` gives its single line."""

    what: str
    where: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f" @ {self.where}" if self.where else ""
        wanted = f"expected {self.expected}" if self.expected else ""
        found = f"got {self.got}" if self.got else ""
        facts = ", ".join(part for part in (wanted, found) if part)
        line = f"{self.what}{place}" + (f": {facts}" if facts else "")
        return printable(f"{line}. {self.hint}" if self.hint else line)


ErrorT = TypeVar("ErrorT", bound="CogkpError")


class CogkpError(Exception):
    """Base of all errors raised on purpose; carries its parts as :class:`Problem`.

    Its message has one line, with all control characters escaped, or one for each of several problems.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", expected: str = "", got: str = "", hint: str = "") -> None:
        self.problem = Problem(what, where, expected, got, hint)
        super().__init__(str(self.problem))

    def changed(self: ErrorT, **parts: str) -> ErrorT:
        """Make the same error with other parts, which are named as those of :class:`Problem`."""
        return type(self)(**attrs.asdict(attrs.evolve(self.problem, **parts)))

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders whole; the default would call __init__ with the finished message.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[CogkpError], args: tuple[Any, ...], parts: dict[str, Any]) -> CogkpError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(parts)
    return error


class ConfigError(CogkpError):
    """A configuration is wrong; ``problems`` lists everything found, one line each."""

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        text = "\n".join(map(str, self.problems))
        super().__init__(text)
        self.args = (text,)  # the lines as they are; one problem would have one


class DataError(CogkpError):
    """A data set, its labels or its images are wrong."""

    @classmethod
    def listing(cls, problems: Sequence[Problem], most: int = 20) -> DataError:
        """Report many problems in one error, one line each, and only count those beyond ``most``."""
        lines = [str(problem) for problem in problems[:most]]
        more = len(problems) - most
        text = "\n".join([*lines, f"... and {more} more"] if more > 0 else lines)
        error = cls(text)
        error.args = (text,)
        return error


class ImageError(DataError):
    """One image or mask file cannot be used."""


class GeometryError(CogkpError):
    """A shape, a camera or a map is not what geometry needs."""


class ModelError(CogkpError):
    """A network was asked for something it cannot be."""


class ArtifactError(CogkpError):
    """A file written earlier cannot be used."""


class CheckpointError(ArtifactError):
    """A checkpoint cannot be used."""


class OutputError(CogkpError):
    """A result cannot be written where it was asked to go."""


class TrainingError(CogkpError):
    """Training cannot start or cannot go on."""


class RankError(TrainingError):
    """Another of the processes that work together has ended; ``reported`` where one of them says why."""

    reported = False

    @classmethod
    def beside_the_point(cls) -> RankError:
        """Make the error of a process that ends because another one did, which has the word."""
        error = cls("another rank ended the work, and says why")
        error.reported = True
        return error


class EvaluationError(CogkpError):
    """An evaluation would be empty or without meaning."""


class NotFiniteError(EvaluationError):
    """The network's predictions are NaN or infinite; ``where`` names the samples."""


class ExportError(CogkpError):
    """A deployed model cannot be made."""


class ParityError(ExportError):
    """The exported model disagrees with the model it came from."""


class EngineError(ExportError):
    """The inference engine cannot be built."""


def printable(text: str) -> str:
    r"""Escape what a terminal, a log or an editor would obey instead of showing it.

    Names come from the files of others: one with an escape sequence could move the cursor or recolour what follows,
    one with a line break could pass for a line of this program.

    Example:
        >>> print(printable("tip\x1b[2J\nerror: none"), printable("Größe"))
        tip\x1b[2J\nerror: none Größe
    """
    return text if text.isprintable() else OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


def first_line(error: BaseException) -> str:
    r"""Quote another package's error in one line: the first of its text, or its type where it has none.

    Example:
        >>> first_line(ValueError("no such layer\n  at ...")), first_line(ValueError())
        ('no such layer', 'ValueError')
    """
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def closest(name: str, known: Iterable[str]) -> str:
    """Phrase a hint that names the known word nearest to a misspelt one, or nothing.

    Example:
        >>> closest("sgementation", ["keypoints", "segmentation"])
        "Did you mean 'segmentation'?"
    """
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean {match[0]!r}?" if match else ""


def first_few(names: Iterable[str], most: int) -> str:
    """Name the first of several, and say how many more there are.

    Example:
        >>> first_few(["a", "b"], 2), first_few(["a", "b", "c"], 1)
        ('a, b', 'a and 2 more')
    """
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def counted(number: int, word: str, more: str = "s") -> str:
    """Phrase how many things there are.

    Example:
        >>> counted(1, "box", "es"), counted(2, "box", "es"), counted(0, "file")
        ('1 box', '2 boxes', '0 files')
    """
    return f"{number} {word}{more * (number != 1)}"
