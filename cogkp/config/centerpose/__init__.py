"""The experiment spec of the CenterPose family: its classes, rules, template, schema and page."""
