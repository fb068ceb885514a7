"""What a page says after a form did its work; the address names it, so that nobody can word it."""

NOTES = {
    "promoted": "It answers from now on.",
    "rolled-back": "Rolled back: the model before answers again.",
    "scheduled": "Saved. A running Atlas heeds it at its next tick.",
    "unscheduled": "No longer scheduled: it trains when it is asked to.",
    "stopping": "Asked to stop. What it finished is kept.",
    "asked-again": "Asked for once more.",
    "asked": "Asked for. It starts as soon as a worker is free.",
}
