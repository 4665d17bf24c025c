"""Rendered images of textured boxes and cans, with exact poses and sizes."""
