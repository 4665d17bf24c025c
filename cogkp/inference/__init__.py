"""Run deployed models, and compare any two of them."""
