"""The configuration of the keypoint family: its classes, rules, templates, schema and reference page."""
