"""Read calibration files of several programs into a rig, with checks, and write our own format.

All of them count pixels from the centre of the top-left pixel, as we do, and map the world to each camera.
"""

from __future__ import annotations

from cogkp.data.calibration.consistency import PairConsistency, check_pairs
from cogkp.data.calibration.own_json import calibration_content, write_calibration
from cogkp.data.calibration.reading import FORMATS, Calibration, open_calibration, read_calibration
from cogkp.data.calibration.report import CalibrationReport, LensShift, lens_shift, summarize

__all__ = [
    "FORMATS",
    "Calibration",
    "CalibrationReport",
    "LensShift",
    "PairConsistency",
    "calibration_content",
    "check_pairs",
    "lens_shift",
    "open_calibration",
    "read_calibration",
    "summarize",
    "write_calibration",
]
