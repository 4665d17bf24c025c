"""Drawings as arrays, charts and pages as text; no window is opened here."""
