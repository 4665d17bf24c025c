"""Metrics of an evaluation, frame by frame: confidence intervals, curves, histograms and comparisons."""
