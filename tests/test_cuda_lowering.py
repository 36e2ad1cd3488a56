"""Every compiled function is lowered for CUDA on a machine that has none: what a GPU would be given, not its speed.

The small networks of the contract tests; the same code lowers the published widths.
"""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import export

from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.representation import representation_of
from tsgan_jax.translation.registry import METHODS, translator
from tsgan_jax.types import MaskBatch, PairBatch

sys.path.append(str(Path(__file__).parent / "translation"))
from translator_methods import BATCH, CONFIGS, SIZE

MASKS = MasksConfig(
    resolution=8,
    z_dim=8,
    w_dim=8,
    mapping_layers=2,
    fmap_base=64,
    fmap_max=8,
    batch_size={4: 4, 8: 4},
    steps_per_resolution={4: 2, 8: 2},
)
CONVOLUTION = re.compile(r"stablehlo\.convolution.*?dim_numbers = (\[.*?\]->\[.*?\]).*-> tensor<[0-9x?]*x(\w+)>")
FORWARD = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Choices by backend are those of a GPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def lowered(function, *shapes):
    """StableHLO for CUDA; what CUDA cannot run raises here."""
    return export.export(jax.jit(function), platforms=("cuda",))(*shapes).mlir_module()


def batch_of_pairs():
    shape = BATCH, SIZE, SIZE
    return jax.eval_shape(lambda: PairBatch(mask=jnp.zeros(shape, jnp.uint8), ct=jnp.zeros((*shape, 1))))


@pytest.mark.parametrize("phase", plan(MASKS), ids=lambda phase: f"{phase.resolution}{'-fade' * phase.fade}")
def test_every_phase_of_stage_1(phase):
    learner = stylegan(MASKS, phase)
    side, channels = phase.resolution, representation_of(MASKS).channels
    batch = jax.eval_shape(lambda: MaskBatch(jnp.zeros((phase.batch_size, side, side, channels))))
    text = lowered(learner.step, jax.eval_shape(learner.init, jax.random.key(0)), batch)
    assert "stablehlo.convolution" in text


@pytest.mark.parametrize("method", METHODS)
def test_step_and_generator_of_every_method(method):
    made = translator(CONFIGS[method].model_copy(update={"precision": "bfloat16"}), images_per_epoch=8)
    state, batch = jax.eval_shape(made.init, jax.random.key(0)), batch_of_pairs()
    step = CONVOLUTION.findall(lowered(made.step, state, batch))
    (n,) = export.symbolic_shape("n")  # as bin/export does
    masks, keys = jax.ShapeDtypeStruct((n, SIZE, SIZE), "uint8"), jax.ShapeDtypeStruct((n, 2), "uint32")
    forward = CONVOLUTION.findall(
        lowered(lambda *given: made.translate(*given[:2], jax.random.wrap_key_data(given[2])), state, masks, keys)
    )
    assert forward and {layout for layout, _ in forward} == {FORWARD}  # NHWC, no layout change of activations
    floats = {leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floats == {jnp.dtype("float32")}
    if method == "dl_pix2pix":  # forward and backward; statistics, softmax and losses are no convolutions
        assert {dtype for _, dtype in step} == {"bf16"}
