"""Runs a project: job queue, clock, web API, dashboard. Imports `atlas`, never the other way."""
