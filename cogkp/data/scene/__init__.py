"""Painting shared by the rendered scenes of both families."""
