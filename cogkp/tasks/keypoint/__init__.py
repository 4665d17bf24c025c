"""The keypoint family: points by soft-argmax, an optional mask."""
