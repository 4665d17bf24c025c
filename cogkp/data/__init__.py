"""Data sets, augmentation and loading: records become samples, samples become batches."""
