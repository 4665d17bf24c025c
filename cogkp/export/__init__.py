"""From a checkpoint to ONNX, a manifest and an inference engine."""
