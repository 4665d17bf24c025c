"""Boxes in images: folders in the form of Objectron become records, samples, and reports on their labels."""
