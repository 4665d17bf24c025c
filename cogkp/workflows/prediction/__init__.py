"""The verb ``predict``: a model over images, videos, cameras and recordings, and what is written of it."""

from cogkp.workflows.prediction.predict import predict
from cogkp.workflows.prediction.stream import FramePrediction, Predictions
from cogkp.workflows.prediction.writing import PredictionSummary, write_predictions

__all__ = ["FramePrediction", "PredictionSummary", "Predictions", "predict", "write_predictions"]
