"""Run a deployed model; compare any two runners."""
