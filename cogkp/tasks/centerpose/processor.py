"""Pre- and postprocessing of CenterPose models: image to network input, outputs to objects in pixels and in space.

NumPy and OpenCV only. An exported network decodes its maps itself; see :mod:`cogkp.tasks.centerpose.decode`.
Axes: B images, K objects decoded.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.data.boxes.reader import read_unlabelled
from cogkp.data.boxes.view import BoxInput
from cogkp.data.images import to_colour
from cogkp.errors import ArtifactError, ModelError, NotFiniteError
from cogkp.geometry.cuboid import Plane
from cogkp.inference.processor import Prepared, Shapes, disagreement, unusable_facts
from cogkp.tasks.centerpose.detections import DecodedObjects, Detections, FilterRules, find_objects
from cogkp.tasks.centerpose.poses import ObjectPoses, PoseRules, find_poses
from cogkp.tasks.centerpose.prediction import CenterPosePrediction, KnownCamera

Array = npt.NDArray[Any]

LENGTHS = {"bboxes": 4, "scores": 1, "kps": 16, "clses": 1, "obj_scale": 3, "kps_displacement_mean": 16}
LENGTHS["kps_heatmap_mean"] = 16
"""Numbers of each object in each output."""

TRUE_LENGTHS = "metres"
UNKNOWN = np.full(3, np.nan)
CAMERA = "intrinsics (3, 3), or a camera with K, distortion and size_wh"
WHOLE = "whole numbers > 0"
GROUND = "a point and the normal, three finite numbers each, the normal not zero"


@attrs.frozen(kw_only=True)
class CenterPoseProcessor:
    """Pre- and postprocessing of one CenterPose model.

    Args:
        category: what it finds, a word.
        stride: pixels of the input per cell of the network's grid.
        metric: whether predicted sizes are true lengths.
        where: the model's file, for messages.
    """

    view: BoxInput
    category: str
    stride: int = 4
    metric: bool = False
    filtering: FilterRules = attrs.field(factory=FilterRules)
    poses: PoseRules = attrs.field(factory=PoseRules)
    where: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The one class of objects."""
        return (self.category,)

    @property
    def asks_where(self) -> bool:
        """Never: it looks at whole images."""
        return False

    def beside(self, image: Path) -> Mapping[str, Any]:
        """Read camera, ground and height of the object of the JSON file beside an image, where there is one."""
        record = read_unlabelled(image.parent, image)
        known = {"camera": record.K, "height": record.object_height}
        ground = None if record.ground is None else (record.ground.center, record.ground.normal)
        return {name: value for name, value in {**known, "ground": ground}.items() if value is not None}

    def check(self, takes: Shapes, gives: Shapes) -> None:
        """Compare a file's inputs and outputs with what its facts say; raises ArtifactError where they disagree."""
        width, height = self.view.size_wh or (self.view.side, self.view.side)
        if [shape[1:] for shape in takes.values()] != [(3, height, width)]:
            raise disagreement(self.where, f"one input (B, 3, {height}, {width})", takes)
        for name, length in LENGTHS.items():
            shape = gives.get(name, ())
            if len(shape) != 3 or shape[2] != length:  # noqa: PLR2004
                raise disagreement(self.where, f"an output {name} (B, K, {length})", gives)

    def prepare(self, image: Array) -> Prepared:
        """Make the network's input of a whole image, (H, W) or (H, W, 3) RGB, as evaluation does."""
        return Prepared(*self.view.of(to_colour(image)), (image.shape[1], image.shape[0]), image)

    def predictions(
        self,
        outputs: Mapping[str, Array],
        prepared: Sequence[Prepared],
        *,
        camera: Any = None,
        height: Any = None,
        ground: Any = None,
        threshold: float | None = None,
    ) -> list[CenterPosePrediction]:
        """Find the objects of images, and their poses where the camera is known.

        Args:
            outputs: those of :class:`cogkp.tasks.centerpose.detections.DecodedObjects` by name, (B, K, ...).
            prepared: B images.
            camera: (3, 3) intrinsics in pixels of the image, or a camera with ``K``, ``distortion`` and ``size_wh``, as
                :class:`cogkp.geometry.camera.PinholeCamera`; its lens needs torch. None where nobody knows it.
            height: true height of the objects, world unit; None where nobody knows it.
            ground: what they stand on, a point and the normal in the frame of the camera, world unit; None where
                nobody knows it. Where a height is known too, the height counts.
            threshold: the least score of an object, 0 to 1; None takes that of the processor.

            A list has one value for each image; all else counts for all of them.

        Raises:
            ModelError: a camera, height, ground or threshold that is none.
            NotFiniteError: the network puts out what is not a number.
        """
        decoded = DecodedObjects(*(outputs[name] for name in DecodedObjects._fields))
        if not np.isfinite(decoded.scores).all():
            raise NotFiniteError("the network puts out what is not a number", where=self.where)
        rules = self.filtering if threshold is None else attrs.evolve(self.filtering, threshold=_share(threshold))
        found = find_objects(decoded, np.stack([each.source_to_crop for each in prepared]), self.stride, rules)
        count = len(prepared)
        given = _each("camera", camera, (3, 3), count)
        cameras = [_camera(one, seen.size_wh) for one, seen in zip(given, prepared, strict=True)]
        heights = np.array([_height(each) for each in _each("height", height, (), count)])
        grounds = [_plane(each) for each in _each("ground", ground, (2, 3), count)]
        poses = self._posed(found, cameras, heights, Plane(*map(np.stack, zip(*grounds, strict=True))))
        return [self._prediction(row, found, poses, cameras[row], seen) for row, seen in enumerate(prepared)]

    def _posed(
        self, found: Detections, cameras: Sequence[KnownCamera | None], heights: Array, ground: Plane
    ) -> ObjectPoses:
        known = np.array([camera is not None for camera in cameras])
        K = np.stack([np.eye(3) if camera is None else np.asarray(camera.K, np.float64) for camera in cameras])
        return find_poses(
            found.pick(known[found.image]),
            K,
            self.poses,
            distortion=_lenses(cameras),
            metric=self.metric,
            height=heights,
            ground=ground,
        )

    def _prediction(
        self, row: int, found: Detections, poses: ObjectPoses, camera: KnownCamera | None, seen: Prepared
    ) -> CenterPosePrediction:
        own = found.pick(found.image == row)
        if camera is None:
            return CenterPosePrediction(category=self.category, found=own, camera=None, seen=seen)
        posed = poses.of_image(row)
        return CenterPosePrediction(
            category=self.category, found=posed, camera=camera, seen=seen, left_out=len(own) - len(posed)
        )


def _each(name: str, value: Any, shape: tuple[int, ...], count: int) -> Sequence[Any]:
    """Give each image its value; a list of numbers in the shape of one value is one value."""
    if not isinstance(value, list) or ((numbers := _numbers(value)) is not None and numbers.shape == shape):
        return [value] * count
    if len(value) != count:
        raise ModelError(f"{name} does not fit the images", expected=f"{count} values", got=str(len(value)))
    return value


def _numbers(value: Any) -> Array | None:
    """Read floats, also of a tensor; None where there are none."""
    try:
        return np.asarray(value.numpy(force=True) if hasattr(value, "numpy") else value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def _camera(value: Any, size_wh: tuple[int, int]) -> KnownCamera | None:
    if value is None:
        return None
    K, lens = _numbers(getattr(value, "K", value)), getattr(value, "distortion", None)
    if K is None or K.shape != (3, 3) or not np.isfinite(K).all() or not _intrinsics(K):
        hint = "Rows are (fx, skew, cx), (0, fy, cy), (0, 0, 1)."
        raise ModelError(
            "not a camera", expected=f"{CAMERA}; finite, focal lengths > 0 px", got=_told(value), hint=hint
        )
    own = getattr(value, "size_wh", size_wh)
    if tuple(own) not in (size_wh, (0, 0)):
        expected, got = ("{} x {} pixels".format(*size) for size in (own, size_wh))
        hint = "Give the image as the camera took it, or the intrinsics of the image as it is."
        raise ModelError("the camera is of another image size", expected=expected, got=got, hint=hint)
    return KnownCamera(K, None if lens is None else _numbers(lens))


def _intrinsics(K: Array) -> bool:
    return bool(K[0, 0] > 0 and K[1, 1] > 0 and K[1, 0] == 0 and np.array_equal(K[2], (0, 0, 1)))


def _lenses(cameras: Sequence[KnownCamera | None]) -> Array | None:
    """(B, D) distortion of each camera, filled up with zeros; None where none has any."""
    lenses = [np.zeros(0) if each is None or each.distortion is None else each.distortion for each in cameras]
    if not any(lens.any() for lens in lenses):
        return None
    most = max(map(len, lenses))
    return np.stack([np.pad(lens, (0, most - len(lens))) for lens in lenses])


def _height(value: Any) -> float:
    if value is None:
        return float("nan")
    number = _numbers(value)
    if number is None or number.shape != () or not 0 < number < np.inf:
        raise ModelError("not a height", expected="a finite number > 0", got=_told(value))
    return float(number)


def _plane(value: Any) -> Plane:
    if value is None:
        return Plane(UNKNOWN, UNKNOWN)
    given = (value.center, value.normal) if hasattr(value, "normal") else value
    numbers = _numbers(given)
    if numbers is None or numbers.shape != (2, 3) or not np.isfinite(numbers).all() or not numbers[1].any():
        raise ModelError("not a ground", expected=GROUND, got=_told(value))
    return Plane(*numbers)


def _share(value: Any) -> float:
    number = _numbers(value)
    if number is None or number.shape != () or not 0 <= number <= 1:
        raise ModelError("not a threshold", expected="a number from 0 to 1", got=_told(value))
    return float(number)


def _told(value: Any) -> str:
    return " ".join(repr(value).split())[:80]


def processor_of(facts: Mapping[str, Any], where: str, *, threshold: float | None = None) -> CenterPoseProcessor:
    """Make the processor of a model file of its facts, which :meth:`CenterPoseTask.export_spec` writes.

    ``threshold`` is the least score of an object that is reported, 0 to 1; None takes that of the templates.

    Raises:
        ArtifactError: facts are missing or make no sense.
        ModelError: a threshold that is none.
    """
    width, height = _fact(facts, "input.size_wh_px", (2,), WHOLE, where).astype(int).tolist()
    blue, green, red = _fact(facts, "input.mean", (3,), "three numbers", where).tolist()
    std_blue, std_green, std_red = _fact(facts, "input.std", (3,), "three numbers > 0", where).tolist()
    category = facts.get("category")
    if not isinstance(category, str) or not category:
        raise _unusable(where, "category, a word", category)
    rules = FilterRules()
    return CenterPoseProcessor(
        view=BoxInput(size_wh=(width, height), mean=(blue, green, red), std=(std_blue, std_green, std_red)),
        category=category,
        stride=int(_fact(facts, "stride_px", (), WHOLE, where)),
        metric=facts.get("scale") == TRUE_LENGTHS,
        filtering=rules if threshold is None else attrs.evolve(rules, threshold=_share(threshold)),
        where=where,
    )


def _fact(facts: Any, name: str, shape: tuple[int, ...], expected: str, where: str) -> Array:
    value = facts
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    numbers = _numbers(value)
    if (
        numbers is None
        or numbers.shape != shape
        or not np.isfinite(numbers).all()
        or (expected.endswith("> 0") and not (numbers > 0).all())
        or (expected == WHOLE and (numbers % 1).any())
    ):
        raise _unusable(where, f"{name}, {expected}", value)
    return numbers


def _unusable(where: str, expected: str, got: Any) -> ArtifactError:
    return unusable_facts(where, f"facts.{expected}", "nothing" if got is None else _told(got))
