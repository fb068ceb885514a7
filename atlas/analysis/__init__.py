"""What a model and its labels look like: figures for the dashboard and the API.

`predicting` alone needs torch: a worker calls it and stores what the rest reads.
"""
