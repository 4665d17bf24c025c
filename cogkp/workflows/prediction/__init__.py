"""The verb ``predict``: a model over images, videos, cameras and recordings, and what is written of it."""

from cogkp.workflows.prediction.predict import predict
from cogkp.workflows.prediction.stream import FramePrediction, Predictions

__all__ = ["FramePrediction", "Predictions", "predict"]
