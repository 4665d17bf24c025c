"""What an evaluation measured, frame by frame, and what can be said of it: intervals, curves, differences."""
