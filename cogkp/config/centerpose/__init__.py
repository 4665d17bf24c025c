"""The experiment file of the CenterPose family: classes, rules, template, schema and reference page."""
