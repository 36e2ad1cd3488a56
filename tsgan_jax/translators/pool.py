"""The image pool of CycleGAN (Shrivastava et al. 2017): critics are also shown what was generated before."""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from tsgan_jax.types import Array, Key


@flax.struct.dataclass
class Pool:
    """images: float32 [size, h, w, c], the first `count` of them filled; count: int32."""

    images: Array
    count: Array


def new_pool(size: int, *shape: int) -> Pool:
    """An empty pool for `size` images of a shape [h, w, c]."""
    return Pool(images=jnp.zeros((size, *shape)), count=jnp.zeros((), jnp.int32))


def query(pool: Pool, images: Array, key: Key) -> tuple[Array, Pool]:
    """What the critic is shown in place of the newly generated `images` [n, h, w, c], and the pool afterwards.

    One after another: while the pool fills, an image is kept and shown; afterwards, with probability .5 it takes the
    place of a random one, which is shown instead.  Images that are not finite are shown but never kept.
    """

    def one(pool: Pool, given: tuple[Array, Key]) -> tuple[Pool, Array]:
        image, key = given
        size = pool.images.shape[0]
        chance, place = jax.random.split(key)
        filling, finite = pool.count < size, jnp.isfinite(image).all()
        swap = ~filling & finite & jax.random.bernoulli(chance)
        slot = jnp.where(filling, pool.count, jax.random.randint(place, (), 0, size))
        old = pool.images[slot]
        kept = jnp.where(finite & (filling | swap), image, old)
        pool = Pool(images=pool.images.at[slot].set(kept), count=pool.count + (filling & finite))
        return pool, jnp.where(swap, old, image)

    pool, shown = lax.scan(one, pool, (images, jax.random.split(key, images.shape[0])))
    return shown, pool
