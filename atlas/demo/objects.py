"""Everyday things that are not clothes: what the small backbone is pretrained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from atlas.demo import objects_indoors as indoors
from atlas.demo import objects_outdoors as outdoors
from atlas.demo.shapes import Part

# The order is the order of the source classes.
OBJECTS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "mug": indoors.mug,
    "bottle": indoors.bottle,
    "lamp": indoors.lamp,
    "chair": indoors.chair,
    "house": outdoors.house,
    "car": outdoors.car,
    "bus": outdoors.bus,
    "boat": outdoors.boat,
    "plane": outdoors.plane,
    "bicycle": outdoors.bicycle,
    "apple": outdoors.apple,
    "banana": outdoors.banana,
    "cherries": outdoors.cherries,
    "mushroom": outdoors.mushroom,
    "tree": outdoors.tree,
    "flower": outdoors.flower,
    "fish": outdoors.fish,
    "bird": outdoors.bird,
    "hammer": indoors.hammer,
    "spanner": indoors.spanner,
    "scissors": indoors.scissors,
    "key": indoors.key,
    "umbrella": indoors.umbrella,
    "guitar": indoors.guitar,
}
