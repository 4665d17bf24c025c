"""The CenterPose family: 3-D boxes of objects, found from their centres, corners and relative sizes."""
