"""What is on disk: names, run folders, checkpoints, manifests; how each is written and read back."""
