"""A procedural recording: an articulated tool before a stereo head, with exact points and masks.

One frame is a pure function of a seed and its index.
"""
