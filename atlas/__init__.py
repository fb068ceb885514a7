"""Atlas: active transfer-learning labelling. Importing it loads no torch and does no work."""

__version__ = "0.1.0"
