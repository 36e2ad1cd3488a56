"""The experiment as data: frozen, validated before JAX is imported, defaults as the paper has them.

Sections and equations are those of arXiv 2602.02171; A-numbers are readings of its ambiguities, listed
in docs/paper.md.  `load_config` (configio.py) reads YAML files into these models.
"""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

T = TypeVar("T", int, float)
Resolution = Literal[4, 8, 16, 32, 64, 128, 256, 512]
Precision = Literal["float32", "bfloat16"]
Decay = Annotated[float, Field(ge=0, lt=1)]
Layer = Annotated[str, Field(pattern=r"^relu[1-5]_[1-4]$")]
VGG_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
Detector = Literal["yolov5n", "yolov5s", "yolov5m", "yolov8n", "yolov8s", "yolov8m"]

SEEDS = 2**32
"""JAX's keys hold 32 bits; a greater seed would silently be another one."""

Seed = Annotated[int, Field(ge=0, lt=SEEDS)]


def _at(setting: T | dict[int, T], resolution: int) -> T:
    """A setting that may be a table by resolution."""
    return setting[resolution] if isinstance(setting, dict) else setting


class Section(BaseModel):
    """A frozen part of the config that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PhantomConfig(Section):
    """The procedural chest that stands in for a LUNA16 tree when `data.root` is not given."""

    patients: PositiveInt = 60
    slices: PositiveInt = 3  # per volume; every one crosses a nodule
    size: Annotated[int, Field(ge=48)] = 256  # pixels of a slice; spacing follows from the patient's width
    nodule_mm: tuple[float, float] = (3.0, 30.0)  # least and largest diameter
    seed: Seed = 0

    @model_validator(mode="after")
    def _diameters_rise(self) -> "PhantomConfig":
        if not 3.0 <= self.nodule_mm[0] < self.nodule_mm[1] - 1 <= 29.0:
            raise ValueError(f"nodule_mm must rise by more than 1 within 3 to 30 mm, got {list(self.nodule_mm)}")
        return self


class DataConfig(Section):
    """LUNA16 tree to prepared slices (section 3.1)."""

    root: Path | None = None  # LUNA16 tree
    phantom: PhantomConfig | None = None  # written and used where there is no root
    prepared: Path = Path("prepared")  # where prepared slices are kept, shared by runs
    resolution: Resolution = 512
    hu_window: tuple[float, float] = (-1000.0, 400.0)  # HU shown as [-1, 1]; A30
    test_fold: int | tuple[int, ...] = 0  # one or several, never seen in training; A27

    @field_validator("test_fold", mode="before")
    @classmethod
    def _some_folds_train(cls, value: object) -> object:
        """One fold is always written as a number, several in rising order, so that equal splits compare equal."""
        folds: list = list(value) if isinstance(value, list | tuple) else [value]
        if any(isinstance(fold, bool) or fold not in range(5) for fold in folds) or not 1 <= len(set(folds)) <= 4:
            raise ValueError("give one fold, 0 to 4, or a list of up to four of them, so that one is left to train on")
        return folds[0] if len(set(folds)) == 1 else tuple(sorted(set(folds)))

    @property
    def test_folds(self) -> tuple[int, ...]:
        """The folds that no generator is trained on."""
        return (self.test_fold,) if isinstance(self.test_fold, int) else self.test_fold

    @model_validator(mode="after")
    def _window_rises(self) -> "DataConfig":
        if self.hu_window[0] >= self.hu_window[1]:
            raise ValueError(f"hu_window must rise, got {list(self.hu_window)}")
        return self


class MasksConfig(Section):
    """Stage 1, StyleGAN on label maps (section 3.2, Eq. 1 and 2; A18 to A24)."""

    resolution: Resolution = 512  # filled from data.resolution
    precision: Precision = "float32"  # filled from the top level
    grow_to: Resolution = 512  # the networks' last resolution, where the masks' own is not lower
    z_dim: PositiveInt = 512
    w_dim: PositiveInt = 512
    mapping_layers: PositiveInt = 8
    fmap_base: PositiveInt = 8192
    fmap_max: PositiveInt = 512
    steps_per_resolution: PositiveInt | dict[int, PositiveInt] = 10_000  # section 4.1; half fade, half stable: A20
    fade_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.5
    batch_size: dict[int, PositiveInt] = {4: 16, 8: 16, 16: 16, 32: 16, 64: 16, 128: 8, 256: 4, 512: 2}  # A20
    accumulate: PositiveInt | dict[int, PositiveInt] = 1  # parts that a batch is computed in, where memory is short
    learning_rate: PositiveFloat | dict[int, PositiveFloat] = 0.002  # section 4.1
    adam_betas: tuple[Decay, Decay] = (0.0, 0.99)
    gradient_penalty: NonNegativeFloat = 10.0  # lambda_gp of Eq. 1
    drift: NonNegativeFloat = 0.001  # lambda_drift of Eq. 1
    drift_on: Literal["all", "real"] = "all"  # A18
    representation: Literal["one_hot", "distance"] = "one_hot"  # of label maps; A23; distance: ours
    discretisation: Literal["gumbel", "none"] = "gumbel"  # what the critic sees of one_hot; A23
    temperature: PositiveFloat = 1.0  # of gumbel
    calibrate: bool = False  # count and size of a drawn mask's small objects as real ones have them; distance; ours
    style_mixing: Annotated[float, Field(ge=0, le=1)] = 0.9
    ema_half_life: PositiveInt = 10_000  # images
    w_avg_decay: Decay = 0.995
    minibatch_std_group: PositiveInt = 4
    mirror: bool = False  # also train on mirrored slices, left and right lung swapped

    @model_validator(mode="after")
    def _every_resolution_has_its_settings(self) -> "MasksConfig":
        for name in ("batch_size", "steps_per_resolution", "accumulate", "learning_rate"):
            table = getattr(self, name)
            if isinstance(table, dict):
                missing = [r for r in self.resolutions if r not in table]
                if missing:
                    raise ValueError(f"{name} lacks resolution {missing[0]}")
        for r in self.resolutions:
            if self.batch_size[r] % self.parts(r):
                raise ValueError(f"accumulate: {self.parts(r)} parts do not divide the batch of {self.batch_size[r]}")
        return self

    @model_validator(mode="after")
    def _calibration_is_of_distance_maps(self) -> "MasksConfig":
        if self.calibrate and self.representation != "distance":
            raise ValueError("calibrate needs representation: distance")
        return self

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ... up to the networks' last resolution."""
        return tuple(2**p for p in range(2, min(self.grow_to, self.resolution).bit_length()))

    def steps(self, resolution: int) -> int:
        """Training steps at one resolution, its fade included."""
        return _at(self.steps_per_resolution, resolution)

    def parts(self, resolution: int) -> int:
        """Parts that a batch is computed in at one resolution."""
        return _at(self.accumulate, resolution)

    def rate(self, resolution: int) -> float:
        """Adam's learning rate at one resolution."""
        return _at(self.learning_rate, resolution)


class TranslatorConfig(Section):
    """What every method of stage 2 has: Adam's budget and pix2pix's schedule (section 4.1)."""

    resolution: Resolution = 512  # filled from data.resolution
    precision: Precision = "float32"  # filled from the top level
    epochs: PositiveInt = 200
    decay_start: Annotated[int, Field(ge=0)] = 100
    batch_size: PositiveInt = 1
    learning_rate: PositiveFloat = 2e-4
    adam_betas: tuple[Decay, Decay] = (0.5, 0.999)
    generator_width: PositiveInt = 64
    mirror: bool = False  # also train on mirrored slices, left and right lung swapped

    @property
    def system(self) -> str:
        """The name that results carry."""
        return self.method  # type: ignore[attr-defined]

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
    """What the methods with a critic have as well."""

    critic_width: PositiveInt = 64
    critic_layers: PositiveInt = 3  # 3: the 70x70 PatchGAN


class DLPix2PixConfig(AdversarialConfig):
    """Stage 2, DL-Pix2Pix (section 3.3, Eq. 3 to 10; A3 to A17)."""

    method: Literal["dl_pix2pix"] = "dl_pix2pix"
    gan_loss: Literal["vanilla", "lsgan"] = "vanilla"  # A16
    l1_weight: NonNegativeFloat = 200.0  # lambda_L1 of Eq. 8; A14
    perceptual: bool = True
    perceptual_weight: NonNegativeFloat = 10.0  # lambda_perc of Eq. 8
    perceptual_layers: tuple[Layer, ...] = VGG_LAYERS  # Eq. 10
    vgg_weights: Path | None = None
    lia: bool = True
    lia_width: PositiveInt = 16  # A6
    dwmh: bool = True
    heads: PositiveInt = 8  # A9
    window: PositiveInt = 4  # A9
    num_downs: Annotated[int, Field(ge=2, le=9)] | None = None  # none: an 8x8 bottleneck, A8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5

    @property
    def depth(self) -> int:
        """Down-samplings of the U-Net."""
        return self.num_downs or max(2, self.resolution.bit_length() - 4)

    @property
    def system(self) -> str:
        """The name that results carry: what an ablation leaves decides it, not which method it was made from."""
        parts = [name for name, on in (("lia", self.lia), ("dwmh", self.dwmh)) if on]
        return "dl_pix2pix" if len(parts) == 2 else "+".join(["pix2pix", *parts])


class Pix2PixConfig(DLPix2PixConfig):
    """Plain pix2pix: DL-Pix2Pix with all of its parts off, and pix2pix's own L1 weight (A14)."""

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
    pool_size: Annotated[int, Field(ge=0)] = 50  # generated images kept for the critics, each way; 0: none


class AttentionGANConfig(CycleGANConfig):
    """AttentionGAN v2 (Tang et al. 2021): CycleGAN's losses, a generator that says where it changes the mask."""

    method: Literal["attentiongan"] = "attentiongan"  # type: ignore[assignment]
    batch_size: PositiveInt = 4
    contents: PositiveInt = 9  # images painted; with the input, contents + 1 attention maps


class GauGANConfig(AdversarialConfig):
    """GauGAN (SPADE, Park et al. 2019): the mask modulates every norm; hinge, feature matching and VGG losses."""

    method: Literal["gaugan"] = "gaugan"
    learning_rate: PositiveFloat = 1e-4  # of the generator; two time-scale update
    critic_learning_rate: PositiveFloat = 4e-4
    adam_betas: tuple[Decay, Decay] = (0.0, 0.9)
    critic_scales: PositiveInt = 2  # critic_layers 3 is what its code calls 4
    num_ups: Annotated[int, Field(ge=2, le=7)] = 5  # from 16x16 at 512 px
    spade_width: PositiveInt = 128  # hidden channels of each modulation
    matching_weight: NonNegativeFloat = 10.0  # feature matching
    perceptual: bool = True
    perceptual_weight: NonNegativeFloat = 10.0
    perceptual_layers: tuple[Layer, ...] = VGG_LAYERS  # weighted 1/32, 1/16, 1/8, 1/4, 1 by depth, as published
    vgg_weights: Path | None = None
    encoder: bool = False  # VAE encoder of a style image; without it the style is constant
    z_dim: PositiveInt = 256  # of the encoder's style
    kl_weight: NonNegativeFloat = 0.05


CONTROLNET_STYLE = "ControlNet-style, no Stable Diffusion prior"
"""How the method is named wherever it is shown: its figures are not those of ControlNet on Stable Diffusion."""

REAL_MASKS = " (real masks)"
DEFORMED_MASKS = " (deformed masks)"
MASKS_OF = {"stylegan": "", "deform": DEFORMED_MASKS, "real": REAL_MASKS}
"""What ends the name of a system, by `generation.masks`."""


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
    prediction: Literal["noise", "velocity", "clean"] = "noise"  # of the U-Net; short or narrow trainings want clean
    noise_steps: PositiveInt = 1000  # T of DDPM
    betas: tuple[PositiveFloat, PositiveFloat] = (1e-4, 0.02)  # first and last of a linear schedule
    sampling_steps: PositiveInt = 50  # DDIM, eta 0
    ema_half_life: PositiveInt = 10_000  # images

    @property
    def system(self) -> str:
        """The name that results carry; not ControlNet's."""
        return "controlnet_style"


TranslationConfig = Annotated[
    DLPix2PixConfig | Pix2PixConfig | CycleGANConfig | AttentionGANConfig | GauGANConfig | ControlNetConfig,
    Field(discriminator="method"),
]


class GenerationConfig(Section):
    """A synthetic set (section 3.4)."""

    masks: Literal["stylegan", "deform", "real"] = "stylegan"  # by stage 1, of training slices warped, as they are: A40
    count: Annotated[int, Field(ge=0)] = 2500
    truncation: Annotated[float, Field(ge=0, le=1)] = 1.0  # 1: none, for variety; A20
    seed: Seed = 0
    batch_size: PositiveInt = 16
    attempts: PositiveInt = 50  # masks drawn for one image before it is given up as rejected


class EvaluationConfig(Section):
    """What images and masks are judged by (section 4.2, Eq. 11 to 13; A31 to A44)."""

    features: Literal["inception", "vgg19"] = "inception"
    inception_weights: Path | None = None  # pytorch-fid's file
    vgg_weights: Path | None = None  # none: translation.vgg_weights, where the method has them
    vgg_layer: Layer = "relu3_4"
    count: PositiveInt | None = None  # synthetic images judged; none: all of the set
    bootstrap: PositiveInt = 200  # resamplings behind each interval
    kid_subset: PositiveInt = 1000
    nearest: PositiveInt = 3  # k of precision and recall


class DetectionConfig(Section):
    """What the set does for a detector (section 4.5, Eq. 14 to 16; A35 to A40)."""

    models: tuple[Detector, ...] = ("yolov8n", "yolov5n")  # yolov5*: ultralytics' anchor-free YOLOv5u; A44
    epochs: PositiveInt = 100
    batch_size: PositiveInt = 6  # section 4.1
    image_size: Annotated[int, Field(ge=64, multiple_of=32)] = 512  # side that images are scaled to
    schedule: tuple[Annotated[int, Field(ge=0)], ...] = (0, 500, 1000, 1500, 2000, 2500)  # synthetic images added
    controls: tuple[Literal["augmented", "repeated"], ...] = ("augmented", "repeated")
    seeds: PositiveInt = 1  # trainings of each, from other random numbers
    learning_rate: PositiveFloat = 0.002
    weights: dict[Detector, Path] = {}  # local files that detectors start from; those without one from random
    bootstrap: Annotated[int, Field(ge=20)] = 1000  # resamplings of scans behind each interval
    python: Path | None = None  # interpreter with ultralytics; none: .venv-detect
    timeout_minutes: PositiveFloat = 600.0  # of one training
    device: str = "auto"

    @model_validator(mode="after")
    def _schedule_rises(self) -> "DetectionConfig":
        if not self.models or not self.schedule or list(self.schedule) != sorted(set(self.schedule)):
            raise ValueError(f"models must not be empty and schedule must rise, got {list(self.schedule)}")
        return self


class RunConfig(Section):
    """How a run keeps and shows itself; changes nothing in the result."""

    save_minutes: PositiveFloat = 5.0
    keep: PositiveInt = 2
    log_steps: PositiveInt = 50
    samples: PositiveInt = 12  # grids per stage 2, and per phase of stage 1 at least one
    tensorboard: bool = False
    evaluate: bool = False  # bin/train ends with what bin/evaluate does


class Config(Section):
    """One experiment."""

    seed: Seed = 0
    precision: Precision = "float32"
    data: DataConfig = DataConfig()
    masks: MasksConfig = MasksConfig()
    translation: TranslationConfig = DLPix2PixConfig()
    generation: GenerationConfig = GenerationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    detection: DetectionConfig | None = None  # none: detectors are not trained
    run: RunConfig = RunConfig()

    @property
    def system(self) -> str:
        """The name that results carry: the method, and the masks where stage 1 does not draw them."""
        return self.translation.system + MASKS_OF[self.generation.masks]

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that the generated set needs, in the order of training."""
        return ("masks", "translation") if self.generation.masks == "stylegan" else ("translation",)

    @property
    def vgg_weights(self) -> Path | None:
        """VGG-19's file for evaluation: its own, else the one stage 2 was trained with."""
        return self.evaluation.vgg_weights or getattr(self.translation, "vgg_weights", None)

    @model_validator(mode="before")
    @classmethod
    def _stages_inherit(cls, values: dict) -> dict:
        """The stages train at data.resolution in the run's precision; a file states them once."""
        if not isinstance(values, dict):
            return values
        data = values.get("data") or {}
        if not isinstance(data, dict | DataConfig):
            return values  # refused as such
        resolution = data.resolution if isinstance(data, DataConfig) else data.get("resolution", 512)
        shared = {"resolution": resolution, "precision": values.get("precision", "float32")}
        values = dict(values)
        values["masks"] = _filled(values.get("masks"), shared)
        values["translation"] = _filled(values.get("translation"), {"method": "dl_pix2pix", **shared})
        return values


def _filled(section: object, shared: dict) -> object:
    """A stage's mapping with the shared values set where the file is silent."""
    return {**shared, **section} if isinstance(section, dict) else shared if section is None else section
