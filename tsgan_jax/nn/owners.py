"""Which layer a parameter belongs to."""

import flax.linen as nn

from tsgan_jax.types import Key

Path = tuple[str, ...]


def owners_of(module: nn.Module, key: Key, *args: object) -> tuple[dict, dict[Path, nn.Module]]:
    """The parameters of `module.init(key, *args)`, and every layer of it by its path.

    A leaf's path without its last part is the path of its layer.  A leaf's name does not tell: Flax calls the weights
    of all layers "kernel" and the scales of all norms "scale".
    """
    layers: dict[Path, nn.Module] = {}

    def note(call, args, kwargs, context):  # type: ignore[no-untyped-def]
        layers[context.module.path] = context.module
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        params = module.init(key, *args)["params"]
    return params, layers
