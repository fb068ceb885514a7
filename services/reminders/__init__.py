"""Reminders: people are told that images wait, on a schedule and not too often.

`plan` decides, `keeping` records and asks for the job, `message` says it, `channels` delivers it.
"""
