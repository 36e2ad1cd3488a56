"""Sets with nodules as requested: how many, how large, in which lung and where in it.

The nodules of a source's masks are removed (they become the lung or body that they lie in) and the requested ones are
drawn (masks/requested.py).  The requested nodules of image i depend on the request, the seed and i; their shapes and
positions also on the attempt.  A mask without room for them is refused, as by the gate, and the next attempt is drawn.
Masks have one class of nodules and stage 2 no other input, so a texture (solid, part-solid, ground-glass) cannot be
requested.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise, product
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.errors import UserError
from tsgan_jax.generation.runs import Say, TrainedRun, fingerprint
from tsgan_jax.generation.sources import MaskSource, Redrawn
from tsgan_jax.masks.nodules import RealNodule, nodules_of, without_nodules
from tsgan_jax.masks.places import PLACES, SIDES, Place, Side, located
from tsgan_jax.masks.plausibility import NODULE_MM
from tsgan_jax.masks.requested import ANY, NoduleRequest, least_mm, with_requested

SIZE_MM = (6.0, 8.0, 15.0)
"""Bounds of the bins of diameter: those of Lung-RADS v2022 for solid nodules at a first screening."""

MOST = 8
"""Nodules of an image."""

BALANCED = ("size", "side", "place")
"""What can be balanced."""

WHICH, WHERE = 1, 2
"""Last numbers of the seeds of a request's random streams."""


@dataclass(frozen=True)
class Request:
    """The nodules of a set.

    nodules: least and largest number in an image; diameter_mm: smallest and largest diameter of the disc of equal
    area; numbers and diameters are drawn evenly.  side: of the patient; place: as in masks/places.py.
    balance: of "size", "side" and "place", those of which every combination is equally frequent: the images of a round
    have one each, in an order given by the seed.
    Raises UserError for what cannot be drawn.
    """

    nodules: tuple[int, int] = (1, 1)
    diameter_mm: tuple[float, float] = (4.0, 12.0)
    side: Side | Literal["any"] = ANY
    place: Place | Literal["any"] = ANY
    balance: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        (fewest, most), (low, high) = self.nodules, self.diameter_mm
        if not 1 <= fewest <= most <= MOST:
            raise UserError(
                f"nodules {fewest}-{most}: expected 1 to {MOST} nodules in an image, the smaller number first"
            )
        if not NODULE_MM[0] <= low <= high <= NODULE_MM[1]:
            raise UserError(f"diameter {low:g}-{high:g} mm: expected {_span(NODULE_MM)} mm, the smaller one first")
        for name, value, known in (("side", self.side, tuple(SIDES)), ("place", self.place, PLACES)):
            if value not in (*known, ANY):
                raise UserError(f"{name} {value!r}: expected {', '.join(known)} or any")
            if value != ANY and name in self.balance:
                raise UserError(f"{name} is {value} and balanced; balance what is left open")
        for name in self.balance:
            if name not in BALANCED or self.balance.count(name) > 1:
                raise UserError(f"balance {name!r}: expected some of {', '.join(BALANCED)}, each once")

    def bins(self) -> list["Request"]:
        """The request split into the combinations of what is balanced."""
        low, high = self.diameter_mm
        edges = [low, *(mm for mm in SIZE_MM if low < mm < high), high]
        sizes = list(pairwise(edges)) if "size" in self.balance else [(low, high)]
        sides = list(SIDES) if "side" in self.balance else [self.side]
        places = list(PLACES) if "place" in self.balance else [self.place]
        return [
            replace(self, diameter_mm=size, side=cast(Side, side), place=cast(Place, place), balance=())
            for size, side, place in product(sizes, sides, places)
        ]

    def of_image(self, seed: int, index: int) -> list[NoduleRequest]:
        """The nodules of image `index`, the largest first, which is the hardest to place."""
        bins = self.bins()
        turn, place = divmod(index, len(bins))
        mine = bins[int(np.random.default_rng([seed, turn, WHICH]).permutation(len(bins))[place])]
        rng = np.random.default_rng([seed, turn, place, WHICH])
        count = int(rng.integers(mine.nodules[0], mine.nodules[1] + 1))
        sizes = sorted(rng.uniform(*mine.diameter_mm, count).tolist(), reverse=True)
        return [NoduleRequest(round(mm, 2), mine.side, mine.place) for mm in sizes]

    def coarse(self, pixel_mm: float) -> str | None:
        """A note where some diameters are below what pixels of that size can hold; UserError where all are."""
        least, (low, high) = least_mm(pixel_mm), self.diameter_mm
        if low >= least:
            return None
        limit = f"pixels are {pixel_mm:.2g} mm, so the smallest nodule of a mask is {least:.1f} mm"
        if high < least:
            raise UserError(f"diameter {_span(self.diameter_mm)} mm: {limit}; request larger ones")
        return f"diameters below {least:.1f} mm are drawn with that one: {limit}"


def requested_masks(source: MaskSource, request: Request, seed: int, bank: Sequence[RealNodule]) -> MaskSource:
    """The masks of a source with the nodules of a request in place of their own; bank: real nodules, or none."""

    def redraw(attempt: int, index: int, mask: NDArray[np.uint8]) -> Redrawn:
        rng = np.random.default_rng([seed, attempt, index, WHERE])
        return _redrawn(mask, source.pixel_mm(index), request.of_image(seed, index), bank, rng)

    shapes = {"kind": "real", "nodules": len(bank), "sha256": fingerprint([real.contour for real in bank])}
    return replace(
        source,
        redraw=redraw,
        made_from={**source.made_from, "request": asdict(request) | {"shapes": shapes if bank else {"kind": "random"}}},
    )


def real_nodules(trained: TrainedRun, say: Say) -> tuple[RealNodule, ...]:
    """The nodules of a run's training masks; none, as `say` tells, for packed networks and where slices are missing."""
    if "packed" in trained.source:
        return ()
    from tsgan_jax.data.pipeline import load, training_folds

    data = trained.config.data
    try:
        slices = load(data, training_folds(data))
    except UserError as error:
        say(f"nodules have smooth random shapes, since the training slices cannot be read: {error}")
        return ()
    found = (nodules_of(mask, float(mm)) for mask, mm in zip(slices.mask, slices.pixel_mm, strict=True))
    return tuple(nodule for some in found for nodule in some)


def _redrawn(
    mask: NDArray[np.uint8],
    pixel_mm: float,
    wanted: list[NoduleRequest],
    bank: Sequence[RealNodule],
    rng: np.random.Generator,
) -> Redrawn:
    """The mask with the nodules, what it has no room for, the nodules' records."""
    bare = mask = without_nodules(mask)
    places = []
    for one in wanted:
        out = with_requested(mask, pixel_mm, one, bank, rng)
        if out is None:
            return Redrawn(bare, (f"no room: side {one.side}, place {one.place}",))
        places.append([where.mean() for where in np.nonzero(out != mask)][::-1])
        mask = out
    found = located(mask, pixel_mm)
    own = [min(found, key=lambda nodule: np.hypot(*np.subtract(nodule.centre, at))) for at in places]
    records = [{"requested": asdict(one), "in_mask": asdict(got)} for one, got in zip(wanted, own, strict=True)]
    return Redrawn(mask, facts={"nodules": records})


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g}-{ends[1]:g}"
