"""Run by test_contracts in a process of its own: one step of a method over two devices equals it on one."""

import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).parent))

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from phantom_pairs import phantom_batch
from translator_methods import BATCH, FACTORIES, SIZE


def main(name: str) -> None:
    assert jax.device_count() == 2
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    batch, method = phantom_batch(BATCH, SIZE), FACTORIES[name]()
    state = jax.jit(method.init)(jax.random.key(3))
    one, one_log = jax.jit(method.step)(state, batch)
    step = jax.jit(method.step, in_shardings=(whole, split), out_shardings=whole)
    two, two_log = step(jax.device_put(state, whole), jax.device_put(batch, split))
    for metric, value in one_log.items():
        np.testing.assert_allclose(two_log[metric], value, rtol=1e-4, atol=1e-6, err_msg=metric)
    moments = [[leaf for leaf in jax.tree.leaves(s.replace(key=None)) if leaf.ndim] for s in (one, two)]
    for a, b in zip(*moments, strict=True):
        # Adam's first step is lr * sign(gradient): where a gradient is zero but for rounding, its sign is free.
        assert (np.abs(np.asarray(a) - np.asarray(b)) > 1e-4).mean() < 0.02
    print("equal")


if __name__ == "__main__":
    main(sys.argv[1])
