"""Configuration: frozen classes, one strict converter, rules, templates and schema.

Knows nothing of torch, numpy or cv2, so that a command line can check a file in milliseconds.
"""
