"""Ask a trained model about images: a checkpoint, a run folder, an ONNX file or an engine.

Run: python examples/ask_a_model.py MODEL IMAGE [IMAGE ...]
"""

import json
import sys
from pathlib import Path

import cogkp
from cogkp.data.images import write_png


def main(model_file: str, images: list[str]) -> None:
    """Print where the points are; write a drawing and a JSON file beside each image."""
    with cogkp.load(model_file) as model:
        print(model)
        for image, found in zip(map(Path, images), model(images), strict=True):
            for name, (u, v), sure in zip(found.names, found.points, found.confidence, strict=True):
                print(f"{image.name}: {name} at column {u:.1f}, row {v:.1f}, confidence {sure:.2f}")
            write_png(image.with_suffix(".found.png"), found.draw())
            image.with_suffix(".found.json").write_text(json.dumps(found.to_dict()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
