"""Where a nodule of a mask is: the side, and the place in the lung by its distance from the lung's outline.

juxtapleural: touches the outline of its lung (pixels at a side or a corner), at the chest wall or the mediastinum.
peripheral: does not touch it, and the centre is at most PERIPHERAL_MM from it.  central: the centre is deeper.

The limit of 20 mm is ours, since clinical definitions differ: a lung is 60 to 110 mm wide in a slice, and over a third
of its area is deeper than that.  "central" is thus deep in the lung, not "near the large airways".
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS, components
from tsgan_jax.labels import LEFT_LUNG, NODULE, RIGHT_LUNG
from tsgan_jax.masks.distance import distance_at, with_nodules

Side = Literal["left", "right"]
Place = Literal["juxtapleural", "peripheral", "central"]

SIDES: dict[Side, int] = {"left": LEFT_LUNG, "right": RIGHT_LUNG}
"""Side (the patient's) to the code of its lung."""

PLACES: tuple[Place, ...] = ("juxtapleural", "peripheral", "central")

PERIPHERAL_MM = 20.0


@dataclass(frozen=True)
class Located:
    """A nodule and where it is.

    diameter_mm: of the disc of equal area; centre: x and y in pixels; depth_mm: distance of the centre from the outline
    that its lung has with all its nodules.  side, place, depth_mm: None for a nodule that touches no lung.
    """

    diameter_mm: float
    centre: tuple[float, float]
    side: Side | None
    place: Place | None
    depth_mm: float | None


def place_of(touches: bool, depth_mm: float) -> Place:
    """The place of a nodule that does or does not touch the outline, with its centre at a depth."""
    if touches:
        return "juxtapleural"
    return "central" if depth_mm > PERIPHERAL_MM else "peripheral"


def located(mask: NDArray[np.uint8], pixel_mm: float) -> list[Located]:
    """All nodules of a mask uint8 [h, w], specks included, in the order of `components`; pixel_mm: side of a pixel."""
    patches = list(components(mask == NODULE))
    if not patches:
        return []
    lungs = {side: with_nodules(mask, code, patches) for side, code in SIDES.items()}
    found = []
    for patch in patches:
        y, x = (
            float(where.mean()) + part.start for where, part in zip(np.nonzero(patch.inside), patch.window, strict=True)
        )
        window, inside = patch.widened(1, mask.shape)
        around = ndimage.binary_dilation(inside, NEIGHBOURS)
        size, centre = patch.diameter_mm(pixel_mm), (x, y)
        # A lung that a nodule touches has the nodule filled in; of both lungs, the one with more pixels around it.
        held = {side: int(lungs[side][window][around].sum()) for side in SIDES if lungs[side][window][inside].all()}
        if not held:
            found.append(Located(size, centre, None, None, None))
            continue
        side = max(held, key=held.__getitem__)
        depth = distance_at(lungs[side], round(y), round(x)) * pixel_mm
        touches = not lungs[side][window][around].all()
        found.append(Located(size, centre, side, place_of(touches, depth), depth))
    return found
