"""A rendered recording: an articulated tool in front of a stereo head, with exact points and masks."""
