"""Optimisation: knows a Task, never a family."""
