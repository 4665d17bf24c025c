"""What differs between the model families, and only that."""
