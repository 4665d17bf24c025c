"""The object-pose family: a box round each object, found from its centre, its corners and its shape."""
