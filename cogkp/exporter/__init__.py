"""Export: from a checkpoint to ONNX, a manifest and a TensorRT engine."""
