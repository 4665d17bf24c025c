"""Write a synthetic data set of textured boxes in Objectron's format, with exact points, poses and sizes.

Lengths are in metres. Each file names its camera axes.
"""

import json
from pathlib import Path
from typing import Any

from cogkp.data.boxes.records import Ground
from cogkp.data.boxes.scene.render import BoxImage, BoxScene, render_box_image
from cogkp.data.boxes.writer import annotation_of, placed_box
from cogkp.data.images import encode_image
from cogkp.errors import DataError
from cogkp.files import staged_folder
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.progress import SILENT, Progress

PROVENANCE = "rendered by cogkp"


def box_annotation(
    rendered: BoxImage, scene: BoxScene, camera_frame: CameraFrame = CameraFrame.OBJECTRON
) -> dict[str, Any]:
    """Write the truth of an image rendered from ``scene`` as the content of an annotation file."""
    world = rendered.world
    boxes = [
        placed_box(scene.shape, box.pose, box.size_xyz, world.K, visibility=seen, num_symmetry=scene.turns)
        for box, seen in zip(world.boxes, rendered.visibility, strict=True)
    ]
    ground = Ground(world.boxes[0].foot, world.up)
    return annotation_of(boxes, scene.size_wh, world.K, ground=ground, camera_frame=camera_frame, provenance=PROVENANCE)


MOST_IMAGES = 100_000


def render_boxes(
    destination: Path,
    *,
    images: int,
    seed: int,
    shape: str = "carton",
    symmetric: int = 1,
    most_boxes: int = 1,
    size_wh: tuple[int, int] = (320, 240),
    camera_frame: CameraFrame = CameraFrame.OBJECTRON,
    progress: Progress = SILENT,
) -> Path:
    """Render images of boxes and write each with its annotation.

    Args:
        destination: folder to create; may exist if it is empty.
        images: how many images, at least 1.
        seed: names the series; other seeds give other images.
        shape: a category: 'carton', 'cereal_box', 'book', 'crate' or 'can'.
        symmetric: after how many equal turns about its height each object looks alike: 1 never, 2 or 4 for boxes with
            equal sides, 6, 8, 12, 16 or 24 for a can, which is the same all the way round.
        most_boxes: each image has one to so many.
        size_wh: width and height of the images, pixels.
        camera_frame: the axes to write.
        progress: advanced once per image.

    Returns:
        The folder.

    Raises:
        DataError: such boxes cannot be rendered.
        OutputError: the folder cannot be written or holds something already.
    """
    scene = BoxScene(size_wh=size_wh, shape=shape, turns=symmetric, most_boxes=most_boxes)
    if not 1 <= images <= MOST_IMAGES:
        raise DataError("there is nothing to render", expected=f"1 to {MOST_IMAGES} images", got=str(images))
    destination = Path(destination)
    with staged_folder(destination) as staging, progress.work("rendering", images) as step:
        for index in range(images):
            rendered = render_box_image(seed, index, scene)
            stem = staging / f"{index:05d}"
            stem.with_suffix(".jpg").write_bytes(encode_image(rendered.image, ".jpg"))
            text = json.dumps(box_annotation(rendered, scene, camera_frame), indent=1)
            stem.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
            step.advance()
    return destination
