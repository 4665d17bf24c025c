"""cogkp: keypoint training and deployment for calibrated cameras."""

__version__ = "0.1.0"
