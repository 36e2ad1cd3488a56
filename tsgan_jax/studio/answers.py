"""What the page can ask for.  Answers are functions of the request alone, but `save` adds to a set.

The page holds all state, so two windows do not know of each other.  Masks and CT travel as base64: uint8 class codes
and int16 HU (little-endian), row by row.  A mask drawn from noise is the one that `bin/generate` makes of that seed,
index and truncation, and while it is not painted on, its CT is that image's.
"""

import base64
import binascii
import contextlib
import functools
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import jax
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Png
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tsgan_jax.config.data import Seed
from tsgan_jax.config.experiment import Truncation
from tsgan_jax.errors import UserError
from tsgan_jax.generation import coco, packed
from tsgan_jax.generation.candidates import candidates
from tsgan_jax.generation.generate import masks_of, set_key, translate
from tsgan_jax.generation.networks import Networks
from tsgan_jax.generation.runs import fingerprint, versions
from tsgan_jax.generation.sets import SetDirectory, SetImage
from tsgan_jax.generation.sources import named
from tsgan_jax.images import check_mask, mask_of_png, resized_mask, to_uint8
from tsgan_jax.labels import NAMES, PALETTE
from tsgan_jax.masks.networks import num_layers
from tsgan_jax.masks.plausibility import check
from tsgan_jax.masks.sample import walk_mask
from tsgan_jax.train.learner import without_optimizers

Answer = dict[str, Any]
MOST_BYTES = 2**20
"""Most bytes of an opened PNG."""


class Request(BaseModel):
    """Base of what the page sends; unknown fields and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Drawn(Request):
    """A mask from noise: image `index` of the set with this seed and truncation (None: the run's)."""

    seed: Seed
    index: Annotated[int, Field(ge=0, lt=2**32)]
    truncation: Truncation | None = None


class Walked(Request):
    """A mask between two drawn ones (`walk_mask`)."""

    first: Drawn
    second: Drawn
    share: Annotated[float, Field(ge=0, le=1)]
    second_from: Annotated[int, Field(ge=1, le=16)] | None = None


class Real(Request):
    """Prepared slice number `slice`, from 0."""

    slice: Annotated[int, Field(ge=0)]


Origin = Drawn | Walked | Real | None


class Opened(Request):
    """A PNG in base64; name: of the file, for messages."""

    name: Annotated[str, Field(max_length=255)]
    png: str


class Painted(Request):
    """A mask, its CT's noise (that of image `index` of the set with `seed`), and what it was before it was painted."""

    mask: str
    seed: Seed
    index: Annotated[int, Field(ge=0, lt=2**32)]
    origin: Origin = None
    edited: bool = False


class Studio:
    """Answers about one pair of networks.  out: the set that `save` adds to, made when first used."""

    def __init__(self, networks: Networks, name: str, run: Path, out: Path) -> None:
        self._trained, self._name, self._out = networks.trained, name, out
        self._side, self._window = self._trained.config.data.resolution, self._trained.config.data.hu_window
        self._truncation = self._trained.config.generation.truncation if self._trained.generator else None
        self._has_real = not packed.is_packed(run) and self._trained.config.data.prepared.is_dir()
        self._source = functools.lru_cache(maxsize=4)(functools.partial(masks_of, self._trained))
        self._accepted = functools.lru_cache(maxsize=64)(self._first_accepted)
        self._saving = Lock()
        self.answers: dict[str, tuple[type[Request], Callable[[Any], Answer]]] = {
            "facts": (Request, self.facts),
            "draw": (Drawn, self.draw),
            "walk": (Walked, self.walk),
            "real": (Real, self.real),
            "open": (Opened, self.open),
            "ct": (Painted, self.ct),
            "png": (Painted, self.png),
            "save": (Painted, self.save),
        }
        self.most_bytes = 2**14 + 4 * max(MOST_BYTES, self._side**2) // 3
        """Largest body of a request."""

    def answer(self, name: str, body: bytes) -> Answer:
        """The answer to request `name` with a JSON body; UserError for a body that is not one."""
        kind, function = self.answers[name]
        try:
            request = kind.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "request"
            raise UserError(f"{place}: {first['msg']}") from None
        return function(request)

    def compile(self) -> None:
        """Compile what the page asks for first, so that its first answers come at once."""
        drawn = Drawn(seed=self._trained.config.generation.seed, index=0, truncation=self._truncation)
        with contextlib.suppress(UserError):  # of untrained networks, whose masks are all refused: the page says so
            mask = self.draw(drawn)["mask"]
            self.ct(Painted(mask=mask, seed=drawn.seed, index=0))
            if self._truncation is not None:
                self.walk(Walked(first=drawn, second=drawn, share=0.0))

    def facts(self, request: Request) -> Answer:
        """What the page has to know once."""
        trained, generator = self._trained, self._trained.generator
        return {
            "name": self._name,
            "side": self._side,
            "pixel_mm": trained.pixel_mm,
            "window": self._window,
            "classes": [{"name": name, "rgb": rgb} for name, rgb in zip(NAMES, PALETTE.tolist(), strict=True)],
            "seed": trained.config.generation.seed,
            "truncation": self._truncation,
            "layers": num_layers(generator.synthesis.resolution) if generator else None,
            "real": self._has_real,
            "unfinished": trained.unfinished,
            "out": str(self._out),
            "most_bytes": MOST_BYTES,
        }

    def draw(self, drawn: Drawn) -> Answer:
        """A mask from noise, and how many attempts the gate refused before it."""
        mask, refused = self._accepted(drawn.seed, drawn.index, drawn.truncation)
        return self._as_answer(mask, drawn) | {"refused": refused}

    def walk(self, walked: Walked) -> Answer:
        """A mask between two."""
        generator = self._trained.generator
        if generator is None:
            raise UserError("these networks have no stage 1, so there is nothing to walk through")
        truncation = walked.first.truncation
        chosen = self._trained.config.generation.truncation if truncation is None else truncation
        keys = jax.numpy.stack([self._key(end) for end in (walked.first, walked.second)])
        mask = walk_mask(generator, keys, walked.share, chosen, walked.second_from)
        return self._as_answer(mask, walked)

    def real(self, real: Real) -> Answer:
        """A prepared slice: its mask and its own CT."""
        slices = self._slices
        if real.slice >= len(slices):
            raise UserError(f"there are {len(slices)} prepared slices, 0 to {len(slices) - 1}")
        about = f"{slices.seriesuid[real.slice]}, slice {slices.slice_index[real.slice]}"
        ct = {"real": _text(slices.ct[real.slice].astype("<i2")), "count": len(slices), "about": about}
        return self._as_answer(slices.mask[real.slice], real) | ct

    def open(self, opened: Opened) -> Answer:
        """The mask in a PNG; another size is resized by nearest neighbour, with a note."""
        content = _bytes(opened.png)
        if len(content) > MOST_BYTES:
            raise UserError(f"{opened.name}: larger than {MOST_BYTES >> 20} MB; masks are small PNG")
        mask = mask_of_png(io.BytesIO(content), opened.name)
        resized, width = resized_mask(mask, self._side, opened.name), mask.shape[1]
        note = "" if width == self._side else f"resized from {width} to {self._side} px by nearest neighbour"
        return self._as_answer(resized, None) | {"note": note}

    def ct(self, painted: Painted) -> Answer:
        """CT of a mask in HU, and why the gate would refuse the mask, if it would."""
        mask = self._mask(painted)
        verdict = check(mask, self._pixel_mm(painted.origin))
        return {"hu": _text(self._hu(painted, mask).astype("<i2")), "refused": verdict.reasons}

    def png(self, painted: Painted) -> Answer:
        """The mask as a grey PNG of class codes."""
        content = io.BytesIO()
        Png.fromarray(self._mask(painted)).save(content, "PNG")
        return {"png": base64.b64encode(content.getvalue()).decode()}

    def save(self, painted: Painted) -> Answer:
        """Add the pair to the set, which is whole after each: the place it has, and how many there are."""
        mask = self._mask(painted)
        hu, pixel_mm, window = self._hu(painted, mask), self._pixel_mm(painted.origin), self._window
        facts = {
            "seed": painted.seed,
            "noise": painted.index,
            "origin": painted.origin and painted.origin.model_dump(),
            "edited": painted.edited,
            "gate": list(check(mask, pixel_mm).reasons),
            **self._facts_of(painted.origin),
        }
        with self._saving, SetDirectory(self._out, self._made_from, versions(), coco.SYNTHETIC) as directory:
            index = max(directory.records, default=-1) + 1
            directory.add(index, f"{index:06d}", SetImage(to_uint8(hu, window), hu, mask, pixel_mm), **facts)
            directory.finish()
            return {"file": f"{index:06d}.png", "count": len(directory.records)}

    @functools.cached_property
    def _slices(self) -> Any:
        if not self._has_real:
            raise UserError("these networks come without prepared slices; start bin/studio with a run that has them")
        from tsgan_jax.data.pipeline import load
        from tsgan_jax.data.slices import NUM_FOLDS

        return load(self._trained.config.data, range(NUM_FOLDS))

    @functools.cached_property
    def _made_from(self) -> Answer:
        trained = self._trained
        weights = {"translation": fingerprint(without_optimizers(trained.translator_state))}
        if trained.generator is not None:
            weights["masks"] = fingerprint((trained.generator.params, trained.generator.w_avg, trained.generator.alpha))
        window = [float(hu) for hu in self._window]
        made_from = {"kind": "synthetic", "made_by": "studio", "window": window, "pixel_mm": float(trained.pixel_mm)}
        return {**made_from, "weights": weights, **trained.source}

    def _first_accepted(self, seed: int, index: int, truncation: float | None) -> tuple[NDArray[np.uint8], int]:
        """The first mask of an image that the gate accepts, and the number of those before it."""
        source, attempts = self._source(seed, truncation), self._trained.config.generation.attempts
        with ThreadPoolExecutor(1) as pool:
            [found] = candidates(source, [index], attempts, 1, pool)
        if found.mask is None:
            reasons = ", ".join(dict.fromkeys(reason for one in found.refused for reason in one))
            raise UserError(f"image {index}: all {attempts} masks drawn were refused ({reasons}); try another index")
        return found.mask, len(found.refused)

    def _key(self, drawn: Drawn) -> Any:
        """The own key of a drawn image: of its first accepted attempt."""
        _, attempt = self._accepted(drawn.seed, drawn.index, drawn.truncation)
        return jax.random.fold_in(jax.random.fold_in(set_key(drawn.seed, "masks"), attempt), drawn.index)

    def _pixel_mm(self, origin: Origin) -> float:
        if isinstance(origin, Drawn):
            return self._source(origin.seed, origin.truncation).pixel_mm(origin.index)
        return float(self._slices.pixel_mm[origin.slice]) if isinstance(origin, Real) else self._trained.pixel_mm

    def _facts_of(self, origin: Origin) -> Answer:
        """What a record says of the real slice that a mask is of."""
        if isinstance(origin, Real):
            return {"mask_of": named(self._slices, origin.slice)}
        return self._source(origin.seed, origin.truncation).facts(origin.index) if isinstance(origin, Drawn) else {}

    def _mask(self, painted: Painted) -> NDArray[np.uint8]:
        content = _bytes(painted.mask)
        if len(content) != self._side**2:
            raise UserError(f"mask: {len(content)} bytes; these networks have masks of {self._side} x {self._side}")
        codes = np.frombuffer(content, np.uint8).reshape(self._side, self._side)
        return check_mask(codes, "mask").astype(np.uint8)

    def _hu(self, painted: Painted, mask: NDArray[np.uint8]) -> NDArray[np.int16]:
        trained, key = self._trained, set_key(painted.seed, "ct")
        networks = trained.translator, trained.translator_state
        [hu] = translate(*networks, mask[None], key, self._window, 1, [painted.index])
        if not np.isfinite(hu).all():
            raise UserError("the translator's CT is not finite; its training has diverged")
        return np.rint(hu).astype(np.int16)

    def _as_answer(self, mask: NDArray[np.uint8], origin: Origin) -> Answer:
        return {"mask": _text(mask), "pixel_mm": self._pixel_mm(origin), "origin": origin and origin.model_dump()}


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("the request holds no valid base64") from None
