"""The ``dataset`` section: folders of images, their normalisation, and augmentation."""

from __future__ import annotations

import attrs

from cogkp.config.fields import LARGEST_SIDE, at_least, between, exactly, more_than, multiple_of, one_of, setting
from cogkp.config.images import ImageFiles

__all__ = ["CORNERS", "DatasetSpec"]

Triple = tuple[float, float, float]

CORNERS = 8

# Colours of images and their principal directions, in the order blue, green, red, on the scale 0..1.
MEAN = (0.40789654, 0.44719302, 0.47026115)
STD = (0.28863828, 0.27408164, 0.27809835)
EIG_VAL = (0.2141788, 0.01817699, 0.00341571)
EIG_VEC = (
    (-0.58752847, -0.69563484, 0.41340352),
    (-0.5832747, 0.00994535, -0.81221408),
    (-0.56089297, 0.71832671, 0.41158938),
)
MIRRORED = ((1, 5), (3, 7), (2, 6), (4, 8))

# What the reference does with these categories whatever num_symmetry says.
ROUND = {"chair": 4, "bottle": 12}

IN_BOTH = "must agree with train.loss_config"


@attrs.frozen(kw_only=True)
class DatasetSpec:
    """The images, and what is made of them."""

    train_data: str | None = setting(None, "Folder of labelled images to train on, searched with all below it.")
    val_data: str | None = setting(None, "Folder of labelled images to validate with.")
    test_data: str | None = setting(None, "Folder of labelled images to evaluate on.")
    inference_data: str | None = setting(
        None, "Folder of images to find objects in; they need no labels.", also=("inference data",)
    )
    camera_frame: str = setting(
        "objectron",
        "Camera axes of the label files: 'objectron' as the published data, 'opengl', or 'opencv'.",
        one_of("opencv", "opengl", "objectron"),
    )
    images: ImageFiles = setting(ImageFiles, "How image files are read.")
    batch_size: int = setting(4, "Images per step on each GPU, also in validation.", at_least(1))
    workers: int = setting(8, "Loader processes; 0 loads in the training process.", at_least(0))
    pin_memory: bool = setting(True, "Load into memory that a GPU copies from quickly.")
    num_classes: int = setting(1, "Number of categories; one network knows exactly one.")
    num_joints: int = setting(CORNERS, "Corners of a box.", exactly(CORNERS))
    max_objs: int = setting(10, "Most objects of one image; the first of its file count.", between(1, 10_000))
    mean: Triple = setting(MEAN, "Mean colour taken off each image; blue, green, red, scale 0..1.")
    std: Triple = setting(STD, "Spread of colours each image is divided by; blue, green, red.", more_than(0.0))
    eig_val: Triple = setting(
        EIG_VAL, "How far lighting varies along each direction of eig_vec.", at_least(0.0), also=("_eig_val",)
    )
    eig_vec: tuple[Triple, Triple, Triple] = setting(
        EIG_VEC, "Directions in which lighting varies, one per column.", also=("_eig_vec",)
    )
    category: str = setting(
        "cereal_box", "Name of the one category; objects that the label files put into another class are left out."
    )
    all_classes: bool = setting(False, "Take the objects of every class for the category.")
    num_symmetry: int = setting(
        1,
        "Turns about the object's y axis that look alike, in equal steps; 1 for none. "
        "Left at 1, a category 'chair' has 4 and 'bottle' 12.",
        at_least(1),
    )
    mse_loss: bool = setting(False, "Another loss of heatmaps; not available.", exactly(False))
    center_3D: bool = setting(  # noqa: N815 - the name in the file
        False, "Take the projected centre of the box as an object's centre, instead of the middle of its 2-D box."
    )
    obj_scale: bool = setting(True, f"Make targets of relative sizes; {IN_BOTH}.")
    use_absolute_scale: bool = setting(False, "Learn sizes in metres instead of in units of the height.")
    obj_scale_uncertainty: bool = setting(False, "Learn how sure sizes are; not available.", exactly(False))
    dense_hp: bool = setting(False, "Learn corners from every cell of a box; not available.", exactly(False))
    hps_uncertainty: bool = setting(False, "Learn how sure corners are; not available.", exactly(False))
    reg_bbox: bool = setting(True, f"Make targets of 2-D boxes; {IN_BOTH}.")
    reg_offset: bool = setting(True, f"Make targets of centres within their cell; {IN_BOTH}.")
    hm_hp: bool = setting(True, f"Make heatmaps of corners; {IN_BOTH}.")
    reg_hp_offset: bool = setting(True, f"Make targets of corners within their cell; {IN_BOTH}.")
    flip_idx: tuple[tuple[int, int], ...] = setting(
        MIRRORED, "Pairs of corners, 1 to 8, that change places in a mirror."
    )
    no_color_aug: bool = setting(False, "Leave colours as they are in training.")
    not_rand_crop: bool = setting(False, "Move and scale by shift and scale instead of cutting random squares.")
    scale: float = setting(0.4, "Spread of the scale factor where not_rand_crop is on.", between(0.0, 1.0))
    shift: float = setting(0.05, "Spread of the shift where not_rand_crop is on, fraction of the side.", at_least(0.0))
    rotate: float = setting(0.0, "Largest rotation of an image that is rotated, degrees.", between(0.0, 180.0))
    aug_rot: float = setting(0.0, "How often an image is rotated, 0 to 1.", between(0.0, 1.0))
    flip: float = setting(
        0.5, "How often an image is mirrored, 0 to 1; 0 for objects with a handedness.", between(0.0, 1.0)
    )
    input_res: int = setting(512, "Side of the square the network sees, pixels.", multiple_of(32, 64, LARGEST_SIDE))
    output_res: int = setting(128, "Side of the network's grid, cells: input_res over model.down_ratio.", at_least(1))

    @property
    def symmetry_count(self) -> int:
        """How many turns look alike: num_symmetry, or where it is left at 1, what the category is known for."""
        return ROUND.get(self.category, 1) if self.num_symmetry == 1 else self.num_symmetry
