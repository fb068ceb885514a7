"""Numbers as people write them."""

import numpy as np


def decimal(value: float, digits: int = 3) -> str:
    """`value` with so many significant digits and without an exponent: 0.0123, 71.4, 12300."""
    return np.format_float_positional(value, digits, fractional=False, trim="-")
