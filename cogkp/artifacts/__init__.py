"""Files on disk: names, run folders, checkpoints and manifests; how each is written and read."""
