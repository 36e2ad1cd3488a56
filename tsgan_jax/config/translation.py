"""`translation`: stage 2, one class per method."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from tsgan_jax.config.data import Decay, Layer, Precision, Resolution, Section

VGG_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

CONTROLNET_STYLE = "ControlNet-style, no Stable Diffusion prior"
"""The method's name in results: its figures are not those of ControlNet on Stable Diffusion."""


class TranslatorConfig(Section):
    """Settings of every method of stage 2: Adam and pix2pix's schedule (section 4.1)."""

    resolution: Resolution = 512  # filled from data.resolution
    precision: Precision = "float32"  # filled from the top level
    epochs: PositiveInt = 200
    decay_start: Annotated[int, Field(ge=0)] = 100  # epoch from which the learning rate falls to 0
    batch_size: PositiveInt = 1
    learning_rate: PositiveFloat = 2e-4
    adam_betas: tuple[Decay, Decay] = (0.5, 0.999)
    generator_width: PositiveInt = 64  # feature maps of the first layer
    mirror: bool = False  # also train on mirrored slices, left and right lung swapped
    start_from: str | None = None  # run directory or name of a network with whose weights training begins

    @property
    def system(self) -> str:
        """The name that results carry."""
        return str(self.method)  # type: ignore[attr-defined]

    @property
    def perceptual_on(self) -> bool:
        """Whether training reads VGG-19's features."""
        return bool(getattr(self, "perceptual", False))

    @model_validator(mode="after")
    def _decay_inside_training(self) -> Self:
        if self.decay_start > self.epochs:
            raise ValueError(f"decay_start {self.decay_start} is after the last epoch {self.epochs}")
        return self


class AdversarialConfig(TranslatorConfig):
    """Additional settings of the methods with a critic."""

    critic_width: PositiveInt = 64  # feature maps of the first layer
    critic_layers: PositiveInt = 3  # 3: the 70x70 PatchGAN


class DLPix2PixConfig(AdversarialConfig):
    """Stage 2, DL-Pix2Pix (section 3.3, Eq. 3 to 10; A3 to A17)."""

    method: Literal["dl_pix2pix"] = "dl_pix2pix"
    gan_loss: Literal["vanilla", "lsgan"] = "vanilla"  # A16
    l1_weight: NonNegativeFloat = 200.0  # lambda_L1 of Eq. 8; A14
    perceptual: bool = True  # the loss of VGG-19's features
    perceptual_weight: NonNegativeFloat = 10.0  # lambda_perc of Eq. 8
    perceptual_layers: tuple[Layer, ...] = VGG_LAYERS  # Eq. 10
    vgg_weights: Path | None = None  # file of VGG-19's weights, needed where perceptual is on
    lia: bool = True  # local importance-based attention of the skips; Eq. 3
    lia_width: PositiveInt = 16  # A6
    dwmh: bool = True  # dynamically weighted multi-head window attention at the bottleneck; Eq. 6
    heads: PositiveInt = 8  # A9
    window: PositiveInt = 4  # A9
    num_downs: Annotated[int, Field(ge=2, le=9)] | None = None  # None: an 8x8 bottleneck, A8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5  # of the middle up-samplings, as in pix2pix; also in use
    # Ours, off in the paper's config (docs/methods.md, "DL-Pix2Pix beyond the paper"):
    resize: bool = False  # doubled pixels and a 3x3 convolution for each transposed one, which leaves a grid
    appearance: bool = False  # also told how a slice looks: brightness, contrast and grain of each region

    @property
    def depth(self) -> int:
        """Down-samplings of the U-Net."""
        return self.num_downs or max(2, self.resolution.bit_length() - 4)

    @property
    def system(self) -> str:
        """The system's name in results; it depends on the parts that are on, not on the method."""
        parts = [name for name, on in (("lia", self.lia), ("dwmh", self.dwmh)) if on]
        return "dl_pix2pix" if len(parts) == 2 else "+".join(["pix2pix", *parts])


class Pix2PixConfig(DLPix2PixConfig):
    """pix2pix: DL-Pix2Pix with all parts off, and pix2pix's L1 weight (A14)."""

    method: Literal["pix2pix"] = "pix2pix"  # type: ignore[assignment]
    l1_weight: NonNegativeFloat = 100.0
    perceptual: bool = False
    lia: bool = False
    dwmh: bool = False


class CycleGANConfig(AdversarialConfig):
    """CycleGAN (Zhu et al. 2017, as published) on unpaired masks and CT; the mask is one scalar channel."""

    method: Literal["cyclegan"] = "cyclegan"
    residual_blocks: PositiveInt = 9
    cycle_weight: Annotated[float, Field(ge=0)] = 10.0  # lambda_A = lambda_B
    identity_weight: Annotated[float, Field(ge=0)] = 0.5  # times cycle_weight; 0: no identity loss
    pool_size: Annotated[int, Field(ge=0)] = 50  # generated images stored for each critic; 0: none


class AttentionGANConfig(CycleGANConfig):
    """AttentionGAN v2 (Tang et al. 2021): CycleGAN's losses, and a generator with attention maps."""

    method: Literal["attentiongan"] = "attentiongan"  # type: ignore[assignment]
    batch_size: PositiveInt = 4
    contents: PositiveInt = 9  # generated images; with the input, contents + 1 attention maps


class GauGANConfig(AdversarialConfig):
    """GauGAN (SPADE, Park et al. 2019): the mask modulates every norm; hinge, feature matching and VGG losses."""

    method: Literal["gaugan"] = "gaugan"
    learning_rate: PositiveFloat = 1e-4  # of the generator; two time-scale update
    critic_learning_rate: PositiveFloat = 4e-4  # of the critics
    adam_betas: tuple[Decay, Decay] = (0.0, 0.9)
    critic_scales: PositiveInt = 2  # critic_layers 3 is 4 in the published code
    num_ups: Annotated[int, Field(ge=2, le=7)] = 5  # from 16x16 at 512 px
    spade_width: PositiveInt = 128  # hidden channels of each modulation
    matching_weight: NonNegativeFloat = 10.0  # feature matching
    perceptual: bool = True
    perceptual_weight: NonNegativeFloat = 10.0
    perceptual_layers: tuple[Layer, ...] = VGG_LAYERS  # weighted 1/32, 1/16, 1/8, 1/4, 1 by depth, as published
    vgg_weights: Path | None = None
    encoder: bool = False  # VAE encoder of a style image; without it the style is constant
    z_dim: PositiveInt = 256  # of the encoder's style
    kl_weight: NonNegativeFloat = 0.05  # of the encoder's divergence


class ControlNetConfig(TranslatorConfig):
    """ControlNet-style diffusion, no Stable Diffusion prior: an unconditional model, then its controlled copy."""

    method: Literal["controlnet"] = "controlnet"
    prior_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5  # of all images seen, for the unconditional model
    batch_size: PositiveInt = 4
    learning_rate: PositiveFloat = 1e-4
    adam_betas: tuple[Decay, Decay] = (0.9, 0.999)
    patch: Literal[1, 2, 4, 8] = 4  # pixels folded into channels, each way, before the U-Net
    multipliers: tuple[PositiveInt, ...] = (1, 2, 4)  # widths of the U-Net's levels in generator_width
    residual_blocks: PositiveInt = 1  # of a level's encoder; its decoder has one more
    attention_levels: tuple[Annotated[int, Field(ge=0)], ...] = (2,)  # from 0, the finest
    prediction: Literal["noise", "velocity", "clean"] = "noise"  # of the U-Net; clean: for short, narrow trainings
    noise_steps: PositiveInt = 1000  # T of DDPM
    betas: tuple[PositiveFloat, PositiveFloat] = (1e-4, 0.02)  # first and last of a linear schedule
    sampling_steps: PositiveInt = 50  # DDIM, eta 0
    ema_half_life: PositiveInt = 10_000  # images

    @property
    def system(self) -> str:
        """The system's name in results; not ControlNet's."""
        return "controlnet_style"


TranslationConfig = Annotated[
    DLPix2PixConfig | Pix2PixConfig | CycleGANConfig | AttentionGANConfig | GauGANConfig | ControlNetConfig,
    Field(discriminator="method"),
]
