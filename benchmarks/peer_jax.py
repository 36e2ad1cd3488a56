"""tsgan_jax's worker."""

from collections.abc import Callable

from benchmarks import dl_pix2pix_step, features_step, generation, stylegan_step
from benchmarks.serve import serve

CASES = {
    "stylegan": stylegan_step.prepare,
    "dl_pix2pix": dl_pix2pix_step.prepare,
    "generate": generation.prepare,
    "features": features_step.prepare,
}


def prepare(name: str, resolution: int, batch: int) -> tuple[Callable[[], None], int]:
    """The step of a case."""
    return CASES[name](resolution, batch)


if __name__ == "__main__":
    serve(prepare)
