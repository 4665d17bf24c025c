"""Training: loop, optimiser, precision, ranks and loggers; works with any Task."""
