"""Which queries are asked blind, as every audit image is: without a guess (ADR 17)."""

from collections.abc import Collection

import numpy as np

from atlas.types import ImageId

BLIND_REASON = "to be answered without a guess, so that nothing sways you"
"""What annotators are told of every blind image, whatever it was chosen for."""

_OWN_NUMBERS = 1  # the round's other random numbers go to the sampler and the order


def draw_blind(
    image_ids: Collection[ImageId], *, audit: int, seed: int, round_number: int
) -> set[ImageId]:
    """As many of a round's queries as it has audit images, at most half; each is as likely.

    Half, rounded up: the others keep what a guess and a new order are worth.

    Nothing but the arguments counts, so that the place a sampler gave an image does not.

    Args:
        image_ids: of the round's queries, without its audit images.
        audit: how many audit images the round has, 0 or more.
        seed: the project's.
        round_number: 1 or more.
    """
    ids = sorted(image_ids)
    rng = np.random.default_rng([seed, round_number, _OWN_NUMBERS])
    drawn = rng.choice(len(ids), min(audit, (len(ids) + 1) // 2), replace=False)
    return {ids[place] for place in drawn}
