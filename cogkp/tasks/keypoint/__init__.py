"""The keypoint family: points by soft-argmax, and an optional segmentation mask."""
