"""The training step of stage 1 equals one written a second time, in eager PyTorch and from the publications."""

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from torch_peers import run_peer_of_many, torch_python

from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import MaskGanState, Phase, plan
from tsgan_jax.masks.learner import optimiser, stylegan
from tsgan_jax.masks.networks import layer_noise, mix_styles, num_layers
from tsgan_jax.masks.representation import representation_of
from tsgan_jax.nn.stylegan import EPSILON
from tsgan_jax.train.learner import Params, new_player, step_streams
from tsgan_jax.types import Key, MaskBatch

from .tiny import tiny

PEER = Path(__file__).parents[1] / "torch_peers" / "stylegan.py"
BATCH, RESOLUTION = 8, 16
BETA1 = 0.5
"""Not the paper's 0: Adam's first moment after one step is then (1 - BETA1) times the gradient, and shows it."""

GUMBEL = {"representation": "one_hot", "discretisation": "gumbel"}
SOFTMAX = {"representation": "one_hot", "discretisation": "none"}
DISTANCE = {"representation": "distance"}
CASES = {
    "gumbel, fade": (GUMBEL, True),
    "gumbel, stable": ({**GUMBEL, "temperature": 0.7}, False),
    "softmax, fade": (SOFTMAX, True),
    "softmax, stable": ({**SOFTMAX, "drift_on": "real"}, False),
    "distance, fade": (DISTANCE, True),
}


METRICS = ("real_score", "fake_score", "wasserstein", "gradient_penalty", "critic_loss", "generator_loss")
"""Of the step's log; the peer gives them the same names."""


def config_of(changes: dict) -> MasksConfig:
    """The third of four resolutions, so that real maps are averages; of half the width; two groups in a batch.

    A fade has 40 images.  Drift weighs a hundred times the paper's: it alone moves the critic's last bias, and would
    drown in rounding.
    """
    size = {"resolution": 2 * RESOLUTION, "fmap_base": 32, "steps_per_resolution": 20, "minibatch_std_group": 4}
    return tiny(**size, drift=0.1, adam_betas=(BETA1, 0.99), **changes)


def start(config: MasksConfig, phase: Phase) -> MaskGanState:
    """An untrained state, 16 images into the phase, with no parameter at a value that would hide its use."""
    rng = np.random.default_rng(0)

    def moved(params: Params, by: float) -> Params:
        return jax.tree.map(lambda x: x + jnp.asarray(rng.normal(0, by, x.shape), jnp.float32), params)

    state, tx = jax.jit(stylegan(config, phase).init)(jax.random.key(0)), optimiser(config, phase.resolution)
    gen = {"mapping": moved(state.gen.params["mapping"], 30.0), "synthesis": moved(state.gen.params["synthesis"], 0.5)}
    return state.replace(
        step=jnp.int32(3),
        images_seen=jnp.int32(phase.start + 16),
        gen=new_player(tx, gen),
        critic=new_player(tx, moved(state.critic.params, 0.5)),
    )


def batch_of(config: MasksConfig) -> MaskBatch:
    """Maps in the range of the representation's own."""
    maps = representation_of(config)
    shape = (BATCH, RESOLUTION, RESOLUTION, maps.channels)
    return MaskBatch(maps=maps.activate(2.0 * jax.random.normal(jax.random.key(5), shape)))


def gumbel(key: Key, channels: int) -> jax.Array:
    """The noise with which `sample_one_hot` draws classes."""
    return jax.random.gumbel(key, (BATCH * RESOLUTION**2 * channels,)).reshape(BATCH, RESOLUTION, RESOLUTION, channels)


def turn(config: MasksConfig, key: Key, gumbel_key: Key) -> Iterator[tuple[str, jax.Array]]:
    """What one player's turn draws."""
    z_key, mix_key, noise_key = jax.random.split(key, 3)
    z = jax.random.normal(z_key, (2 * BATCH, config.z_dim))
    yield from zip(("z", "z2"), jnp.split(z, 2), strict=True)
    first, second = jnp.zeros((BATCH, 1)), jnp.ones((BATCH, 1))
    yield "second", mix_styles(mix_key, first, second, num_layers(RESOLUTION), config.style_mixing)[..., 0] == 1
    noise = jax.vmap(lambda k: layer_noise(k, RESOLUTION))(jax.random.split(noise_key, BATCH))
    yield from ((f"noise{layer}", one) for layer, one in enumerate(noise))
    yield "gumbel", gumbel(gumbel_key, representation_of(config).channels)


def draws(config: MasksConfig, state: MaskGanState) -> dict[str, jax.Array]:
    """Every random number of the step."""
    names = ("critic latents", "critic fake", "critic real", "interpolate", "generator latents", "generator fake")
    keys = dict(zip(names, step_streams(state.key, state.step, *names), strict=True))
    return {
        **{f"critic_turn.{k}": v for k, v in turn(config, keys["critic latents"], keys["critic fake"])},
        **{f"generator_turn.{k}": v for k, v in turn(config, keys["generator latents"], keys["generator fake"])},
        "real_gumbel": gumbel(keys["critic real"], representation_of(config).channels),
        "u": jax.random.uniform(keys["interpolate"], (BATCH,)),
    }


def named(**trees: Params) -> dict[str, jax.Array]:
    """All leaves of the trees by `tree.layer.leaf`."""
    return flatten_dict(trees, sep=".")


def first_moment(player: object) -> Params:
    """The first moment of a player's Adam."""
    return player.opt_state[0].mu  # type: ignore[attr-defined]


def difference(ours: object, theirs: np.ndarray) -> float:
    """The largest difference of two arrays as a share of the largest entry."""
    ours = np.asarray(ours, np.float64)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_step_is_that_of_eager_pytorch(case: str) -> None:
    """Mean scores, penalty, losses and every gradient, to 1e-4 of each array's largest entry."""
    changes, fading = CASES[case]
    torch_python()  # skips before anything is compiled
    config = config_of(changes)
    phase = next(p for p in plan(config) if (p.resolution, p.fade) == (RESOLUTION, fading))
    state, batch = start(config, phase), batch_of(config)
    drawn = draws(config, state)
    new, log = jax.jit(stylegan(config, phase).step)(state, batch)
    assert float(log["alpha"]) == pytest.approx(0.4 if fading else 1.0)

    settings = {
        "resolution": RESOLUTION,
        "alpha": 0.4 if fading else None,
        "classes": config.representation == "one_hot",
        "gumbel": config.discretisation == "gumbel",
        "epsilon": EPSILON,
        "group": config.minibatch_std_group,
        **{name: getattr(config, name) for name in ("temperature", "gradient_penalty", "drift", "drift_on")},
    }
    weights = named(**state.gen.params, critic=state.critic.params, new_critic=new.critic.params)
    theirs = run_peer_of_many(PEER, {"real": batch.maps, **drawn, **weights}, json.dumps(settings))

    moments = named(**first_moment(new.gen), critic=first_moment(new.critic))
    ours = {
        **{name: log[name] for name in METRICS},
        **{name: moment / (1 - BETA1) for name, moment in moments.items()},
    }
    assert ours.keys() == theirs.keys()
    apart = {name: difference(ours[name], theirs[name]) for name in theirs}
    assert max(apart.values()) < 1e-4, apart
