"""The methods of stage 2 by name.  A new method has a file and a line here; docs/extending.md has the steps."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tsgan_jax.config import TranslationConfig
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.attentiongan import attentiongan
from tsgan_jax.translation.controlnet import controlnet
from tsgan_jax.translation.cyclegan import cyclegan
from tsgan_jax.translation.dl_pix2pix import dl_pix2pix
from tsgan_jax.translation.gaugan import gaugan

METHODS: Mapping[str, Callable[[Any, int], Translator[Any]]] = MappingProxyType(
    {
        "dl_pix2pix": dl_pix2pix,
        "pix2pix": dl_pix2pix,  # with every part off, as Pix2PixConfig sets it
        "cyclegan": cyclegan,
        "attentiongan": attentiongan,
        "gaugan": gaugan,
        "controlnet": controlnet,
    }
)


def translator(config: TranslationConfig, images_per_epoch: int = 949) -> Translator[Any]:
    """The Translator of `config.translation`.

    images_per_epoch: real training images; 949 are four fifths of LUNA16's 1,186 slices.
    Raises UserError when settings contradict each other or a file is missing.
    """
    return METHODS[config.method](config, images_per_epoch)
