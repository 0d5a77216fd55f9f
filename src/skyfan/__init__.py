"""Fan a model out over the sky: run a trained network over every image of a survey."""

__version__ = "0.1.0"
