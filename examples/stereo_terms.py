"""What the stereo terms do: the same training with and without them, judged in space.

Run: python examples/stereo_terms.py FOLDER [FRAMES [EPOCHS]]

Draws a stereo recording whose lines are labelled in every eighth frame only, trains twice, and compares. A few minutes
on a CPU; with the defaults both are far from the end of their training.
"""

import json
import sys
from pathlib import Path

import cogkp
from cogkp.data.keypoint.structured import read_lines
from cogkp.data.keypoint.synthetic import demo_config, write_recording
from cogkp.files import write_json

LABELLED_EVERY = 8
TERMS = {"triangulation_reprojection_loss": {"weight": 2000.0}, "triangulation_rigidity_loss": {"weight": 200.0}}


def forget_labels(root: Path) -> None:
    """Take the labels out of all lines but every eighth."""
    lines = [line.content for line in read_lines(root)]
    for number, line in enumerate(lines):
        if number % LABELLED_EVERY:
            line["debug"] = {}
    (root / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def main(home: Path, frames: int = 96, epochs: int = 20) -> None:
    """Train both ways and print what each reaches."""
    write_recording(home / "recording", frames, seed=0)
    write_recording(home / "held_out", max(2, frames // 4), seed=1)
    forget_labels(home / "recording")
    document = demo_config(home / "recording", home / "held_out")
    document |= {"targets": {"segmentation": False}, "stereo_pairing": {"enabled": True, "use_unlabelled": True}}
    plain = {"heatmap_regularization_loss": {"weight": 20.0}}
    for name, terms in (("without", plain), ("with", plain | TERMS)):
        write_json(home / f"{name}.json", document | {"loss_terms": terms})
        config = cogkp.load_config(home / f"{name}.json")
        options = cogkp.TrainOptions(epochs=epochs, batch_size=16, num_workers=0)
        trained = cogkp.train(config, options, checkpoint_root=home / name, log_dir=None)
        report = cogkp.evaluate(config, model=str(trained.checkpoint)).report
        found = report["space"]["overall"]
        px, agreement = report["overall"]["median_px"], found["reprojection_median_px"]
        print(f"{name} stereo terms: {px:.2f} px, in space {found['median']:.3f}, reprojection {agreement:.2f} px")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
