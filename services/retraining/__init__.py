"""Retraining on schedule: when to train by the clock, by new labels and by accuracy."""
