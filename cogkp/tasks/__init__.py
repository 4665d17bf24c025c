"""The tasks: codec, losses, metrics and network of each model family, behind one protocol."""
