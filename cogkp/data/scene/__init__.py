"""Painting that the rendered scenes of both families share."""
