"""From a recording to a deployed model in the library's own words.

Run: python examples/first_model.py [FOLDER] [FRAMES] [EPOCHS]
"""

import json
import sys
from pathlib import Path

import cogkp
from cogkp.data.keypoint.synthetic import demo_config, write_recording


def main(folder: Path, frames: int, epochs: int) -> None:
    """Draw two recordings, train on one, measure on the other, deploy."""
    write_recording(folder / "train", frames, seed=1)
    write_recording(folder / "held_out", max(2, frames // 5), seed=2)
    path = folder / "keypoint.json"
    path.write_text(json.dumps(demo_config(folder / "train", folder / "held_out"), indent=2))

    config = cogkp.load_config(path)
    options = cogkp.TrainOptions(epochs=epochs, batch_size=16, num_workers=0)
    run = cogkp.train(config, options, checkpoint_root=folder / "checkpoints", log_dir=None)
    measured = cogkp.evaluate(config, model=str(run.checkpoint), output_dir=folder / "evaluation")
    print(measured.text)

    model = cogkp.export(
        config, cogkp.ExportOptions(engine=False), checkpoint=str(run.checkpoint), models_root=folder / "models"
    )
    print(f"{model.onnx} is within {model.parity['keypoints']:.1e} px of the trained network")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        Path(given[0] if given else "first_model"),
        int(given[1]) if len(given) > 1 else 100,
        int(given[2]) if len(given) > 2 else 20,
    )
