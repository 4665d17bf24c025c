"""The configuration of the keypoint family: the JSON file behind ``s6 cog keypoint --config``."""

from __future__ import annotations

import attrs

from cogkp.config.augment import Crop, Stage, default_stages
from cogkp.config.fields import at_least, between, matching, more_than, one_of, setting
from cogkp.config.images import ImageFiles


@attrs.frozen(kw_only=True)
class DataMappings:
    """Which entries of a recorded line are images, points and masks."""

    x: tuple[str, ...] = setting(("B.image",), "Datakey of each image; one training image per entry and line.")
    y: tuple[tuple[str, ...], ...] = setting(
        (("B.tip_point",),), "For each image the ordered datakeys of its points; all rows equally long."
    )
    mask: tuple[str, ...] | None = setting(None, "Datakey of each image's class-index mask; needed for segmentation.")
    valid: str | None = setting(None, "Datakey of a flag; a line where it is false is left out.")
    xyz_world: tuple[str, ...] | None = setting(
        None,
        "Datakey of each point's exact place [x, y, z], world units, where it is known; "
        "null: labelled pairs are triangulated to evaluate results in space.",
    )
    keep_points_outside_image: bool = setting(
        False,
        "Whether a label outside its image is trained and judged (amodal labels, as of a box that leaves the image); "
        "off: it counts as not labelled.",
    )

    @property
    def datakeys(self) -> tuple[str, ...]:
        """Every entry that is looked up in a line, each once."""
        points = (key for row in self.y for key in row)
        keys = (*self.x, *points, *(self.mask or ()), *(self.xyz_world or ()), *filter(None, [self.valid]))
        return tuple(dict.fromkeys(keys))


@attrs.frozen(kw_only=True)
class Targets:
    """What the network is trained for."""

    keypoints: bool = setting(True, "Train the points.")
    segmentation: bool = setting(False, "Train the mask; needs data_mappings.mask and num_segmentation_classes.")


@attrs.frozen(kw_only=True)
class Network:
    """Which network is trained."""

    preset: str = setting(
        "small",
        "'small' learns within minutes on a CPU; 'large' has twice its width, for thousands of images; 'resnet18' has "
        "the encoder for which ImageNet weights are published, for GPUs.",
        one_of("small", "large", "resnet18"),
    )


@attrs.frozen(kw_only=True)
class Sampling:
    """Draw lines with weights instead of taking each once per epoch."""

    enabled: bool = setting(False, "Off: every line once per epoch.")
    weights: tuple[float, ...] | None = setting(
        None, "One weight per entry of base_dir; null means equal.", at_least(0.0)
    )
    samples_per_epoch: int | None = setting(
        None, "Lines drawn per epoch; null means as many as there are.", between(1, 100_000_000)
    )


@attrs.frozen(kw_only=True)
class StereoPairing:
    """Treat the two mapped images of a line as one stereo pair."""

    enabled: bool = setting(False, "Batches become LL0, LR0, LL1, LR1, ...; needs exactly two mappings.")
    cameras: tuple[str, str] | None = setting(
        None,
        "Names of the two cameras in the calibration, in the order of data_mappings.x; null: the parts of its datakeys "
        "that name cameras, as LL of 'LL.image'.",
    )
    use_unlabelled: bool = setting(
        False, "Whether the triangulation losses also count points that nobody labelled; they need no label."
    )


@attrs.frozen(kw_only=True)
class Validation:
    """Recordings the training never sees."""

    base_dir: tuple[str, ...] = setting((), "Data set roots evaluated after each epoch; empty means none.", bare=True)


@attrs.frozen(kw_only=True)
class Uncertainty:
    """The stated uncertainty of predicted points; it changes no training and no prediction."""

    noise_px: float = setting(
        0.1,
        "Standard deviation of what a heatmap cannot know (errors of labels, unseen images), crop pixels; added to "
        "each heatmap's own spread. Evaluation says which value the recordings ask for.",
        more_than(0.0),
    )


@attrs.frozen(kw_only=True)
class LossTerm:
    """One term of the total loss."""

    weight: float = setting(0.0, "Multiplier; a term of weight 0 is never computed.", at_least(0.0))


@attrs.frozen(kw_only=True)
class HeatmapTerm(LossTerm):
    """The shape of each heatmap; it makes training several times faster."""

    sigma_px: float = setting(
        6.0, "Standard deviation of the Gaussian that a heatmap should be, crop pixels.", more_than(0.0)
    )


@attrs.frozen(kw_only=True)
class RigidityTerm(LossTerm):
    """Known distances between reconstructed points."""

    segments: tuple[tuple[int, int, float], ...] = setting(
        ((0, 1, 1.5), (1, 2, 2.0)), "Each [point, point, length]; the length in world units of the calibration."
    )

    @property
    def known_segments(self) -> tuple[tuple[int, int, float], ...]:
        """The segments that somebody stands for: those of an active term, or others than the documented example."""
        example = attrs.fields(RigidityTerm).segments.default
        return () if self.weight == 0.0 and self.segments == example else self.segments


@attrs.frozen(kw_only=True)
class LossTerms:
    """The multipliers that build the total loss."""

    supervised_keypoint_loss: LossTerm = setting(lambda: LossTerm(weight=1.0), "Smooth L1 on labelled points.")
    segmentation_loss: LossTerm = setting(lambda: LossTerm(weight=1.0), "Cross entropy on mask pixels.")
    triangulation_reprojection_loss: LossTerm = setting(LossTerm, "Reprojection consistency of stereo pairs.")
    triangulation_rigidity_loss: RigidityTerm = setting(RigidityTerm, "Known lengths between reconstructed points.")
    heatmap_regularization_loss: HeatmapTerm = setting(
        HeatmapTerm, "Divergence of each heatmap from a Gaussian at its label."
    )


@attrs.frozen(kw_only=True)
class KeypointConfig:
    """Everything that describes one keypoint model and its data."""

    prefix: str = setting(
        "model",
        "First part of the names of deployed files.",
        matching(r"[^/\\\x00-\x1f]+", "a part of a file name, without slashes"),
    )
    base_dir: tuple[str, ...] = setting(
        (), "Data set root or roots; relative paths start at the working directory.", bare=True
    )
    data_mappings: DataMappings = setting(DataMappings, "Which entries of a line are images, points and masks.")
    targets: Targets = setting(Targets, "What the network is trained for.")
    augmentations: tuple[Stage, ...] = setting(default_stages, "Stages between a frame and the network's input.")
    sampling: Sampling = setting(Sampling, "How lines are drawn in training.")
    num_segmentation_classes: int | None = setting(
        None, "Number of mask classes from 2 to 255, background included; ignored when segmentation is off."
    )
    segmentation_loss_weight: float = setting(
        1.0, "Older name of loss_terms.segmentation_loss.weight; used only where loss_terms is absent.", at_least(0.0)
    )
    calibration_file: str | None = setting(None, "Camera calibration; needed by the triangulation losses.")
    stereo_pairing: StereoPairing = setting(StereoPairing, "Whether two images of a line are one stereo pair.")
    loss_terms: LossTerms = setting(LossTerms, "The multipliers that build the total loss.")
    validation: Validation = setting(Validation, "Recordings the training never sees.")
    uncertainty: Uncertainty = setting(Uncertainty, "How sure predicted points are said to be.")
    model: Network = setting(Network, "Which network is trained.")
    images: ImageFiles = setting(ImageFiles, "How image files are read.")

    @classmethod
    def default(cls) -> KeypointConfig:
        """Return the documented live defaults, as the template file shows them."""
        return cls()

    @property
    def crop(self) -> Crop:
        """The one crop stage; the converter's rules guarantee that it exists."""
        return next(stage for stage in self.augmentations if isinstance(stage, Crop))

    @property
    def num_keypoints(self) -> int:
        """How many points each image carries."""
        return len(self.data_mappings.y[0])

    @property
    def point_names(self) -> tuple[str, ...]:
        """Short names of the points: the last part of each datakey, or the whole key where that is ambiguous."""
        keys = self.data_mappings.y[0]
        short = tuple(key.rsplit(".", 1)[-1] for key in keys)
        return short if len(set(short)) == len(short) else keys

    @property
    def num_classes(self) -> int | None:
        """Number of mask classes the network has, None without segmentation."""
        return self.num_segmentation_classes if self.targets.segmentation else None
