"""float16 to float32, several times faster than numpy's own."""

import numpy as np
from numpy.typing import NDArray

LARGEST = 65504  # of float16
REBIAS = np.float32(2.0**112)  # the exponent 0 is stored as 15 in float16, as 127 in float32
KEPT = np.int32(-0x70002000)  # 0x8fffe000: the sign, 5 bits of exponent and 10 of fraction


def float32(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """The rows as float32, the same numbers; maybe the same array, which must not be written to.

    numpy turns float16 into float32 one number at a time: 2 s for 1,000,000 × 368, more than all
    the arithmetic after it. Shifting the bits into place is 7 times as fast, a few MB at a time.
    """
    if rows.dtype != np.float16:
        return np.asarray(rows, dtype=np.float32)
    bits = np.asarray(rows).view(np.int16).astype(np.int32)  # the sign fills the upper half
    bits <<= 13
    bits &= KEPT
    result = bits.view(np.float32)
    result *= REBIAS
    if result.size and max(result.max(), -result.min()) > LARGEST:  # so infinity and NaN come out
        return np.asarray(rows, dtype=np.float32)
    return result
