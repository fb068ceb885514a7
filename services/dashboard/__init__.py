"""The pages people look at: rendered here, nothing from elsewhere.

One file a page, each with its `router`; what changes something takes a signed-in engineer's form.
"""
