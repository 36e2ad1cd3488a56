"""The interface of a stage 2 method: three pure functions over a state whose content only the method knows."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from tsgan_jax.types import Array, Key, Metrics, PairBatch

S = TypeVar("S")


class Translator(NamedTuple, Generic[S]):
    """A method from masks to CT; its `init` and `step` are those of a `train.learner.Learner`.

    init: key -> state.  Call it under `jax.jit`, or once per state that is to be donated.
    step: (state, batch) -> (state, metrics); same tree, shapes and dtypes out as in.
    translate: (state, masks uint8 [n, h, w], keys [n]) -> float32 [n, h, w] in [-1, 1].  One key per
        image: an image depends on its mask, its key and the weights, not on its neighbours.  Reads neither the
        players' optimiser state nor `frozen` weights: generation loads the state without them.
    about: facts for logs, such as the hash of a weight file.
    paired: whether a batch's masks and CT belong together; unpaired methods get the masks of other slices.
    """

    init: Callable[[Key], S]
    step: Callable[[S, PairBatch], tuple[S, Metrics]]
    translate: Callable[[S, Array, Key], Array]
    about: Mapping[str, str] = MappingProxyType({})
    paired: bool = True
