"""The config of one experiment, and all its sections but `data` (data.py) and `translation` (translation.py)."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from tsgan_jax.config.data import DataConfig, Decay, Layer, Precision, Resolution, Section, Seed
from tsgan_jax.config.translation import DLPix2PixConfig, TranslationConfig

REAL_MASKS = " (real masks)"
DEFORMED_MASKS = " (deformed masks)"
MASKS_OF = {"stylegan": "", "deform": DEFORMED_MASKS, "real": REAL_MASKS}
"""Suffixes of a system's name, by `generation.masks`."""

T = TypeVar("T", int, float)
Detector = Literal["yolov5n", "yolov5s", "yolov5m", "yolov8n", "yolov8s", "yolov8m"]


def _at(setting: T | dict[int, T], resolution: int) -> T:
    """A setting that may be a table by resolution."""
    return setting[resolution] if isinstance(setting, dict) else setting


class MasksConfig(Section):
    """Stage 1, StyleGAN on label maps (section 3.2, Eq. 1 and 2; A18 to A24)."""

    resolution: Resolution = 512  # filled from data.resolution
    precision: Precision = "float32"  # filled from the top level
    grow_to: Resolution = 512  # the networks' last resolution, at most that of the masks
    z_dim: PositiveInt = 512  # of the latents; StyleGAN
    w_dim: PositiveInt = 512  # of the styles; StyleGAN
    mapping_layers: PositiveInt = 8  # StyleGAN
    fmap_base: PositiveInt = 8192  # a resolution r has 2 fmap_base / r feature maps, at most fmap_max; StyleGAN
    fmap_max: PositiveInt = 512
    steps_per_resolution: PositiveInt | dict[int, PositiveInt] = 10_000  # section 4.1; half fade, half stable: A20
    fade_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.5  # of the steps of a resolution; A20
    batch_size: dict[int, PositiveInt] = {4: 16, 8: 16, 16: 16, 32: 16, 64: 16, 128: 8, 256: 4, 512: 2}  # A20
    accumulate: PositiveInt | dict[int, PositiveInt] = 1  # parts of a batch, computed in sequence to save memory
    learning_rate: PositiveFloat | dict[int, PositiveFloat] = 0.002  # section 4.1
    adam_betas: tuple[Decay, Decay] = (0.0, 0.99)  # StyleGAN
    gradient_penalty: NonNegativeFloat = 10.0  # lambda_gp of Eq. 1
    drift: NonNegativeFloat = 0.001  # lambda_drift of Eq. 1
    drift_on: Literal["all", "real"] = "all"  # A18
    representation: Literal["one_hot", "distance"] = "one_hot"  # of label maps; A23; distance: ours
    discretisation: Literal["gumbel", "none"] = "gumbel"  # critic input for one_hot; A23
    temperature: PositiveFloat = 1.0  # of gumbel
    calibrate: bool = False  # match number and size of small objects to real masks; for distance; ours
    style_mixing: Annotated[float, Field(ge=0, le=1)] = 0.9  # share of images of two latents; A20
    ema_half_life: PositiveInt = 10_000  # images
    w_avg_decay: Decay = 0.995  # of the running mean of w, for truncation
    minibatch_std_group: PositiveInt = 4  # images; StyleGAN
    mirror: bool = False  # also train on mirrored slices, left and right lung swapped
    start_from: str | None = None  # run directory or name of a network with whose weights training begins

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
        """Number of parts of a batch at one resolution."""
        return _at(self.accumulate, resolution)

    def rate(self, resolution: int) -> float:
        """Adam's learning rate at one resolution."""
        return _at(self.learning_rate, resolution)


MOST_TRUNCATION = 1.5

Truncation = Annotated[float, Field(ge=0, le=MOST_TRUNCATION)]


class GenerationConfig(Section):
    """A synthetic set (section 3.4)."""

    masks: Literal["stylegan", "deform", "real"] = "stylegan"  # stage 1; deformed or unchanged training slices: A40
    count: Annotated[int, Field(ge=0)] = 2500  # images
    truncation: Truncation = 1.0  # 1: none; above: more various than trained; A20
    seed: Seed = 0
    batch_size: PositiveInt | None = None  # None: as many as fit in the device's memory
    attempts: PositiveInt = 50  # masks drawn for one image before it is rejected


class EvaluationConfig(Section):
    """Evaluation of images and masks (section 4.2, Eq. 11 to 13; A31 to A44)."""

    features: Literal["inception", "vgg19"] = "inception"
    inception_weights: Path | None = None  # pytorch-fid's file
    vgg_weights: Path | None = None  # None: translation.vgg_weights, if the method has them
    vgg_layer: Layer = "relu3_4"  # of the features of vgg19
    count: PositiveInt | None = None  # synthetic images used; None: all of the set
    bootstrap: PositiveInt = 200  # resamplings for each interval
    kid_subset: PositiveInt = 1000  # images of each estimate of KID
    nearest: PositiveInt = 3  # k of precision and recall


class DetectionConfig(Section):
    """Training of detectors with and without the set (section 4.5, Eq. 14 to 16; A35 to A40)."""

    models: tuple[Detector, ...] = ("yolov8n", "yolov5n")  # yolov5*: ultralytics' anchor-free YOLOv5u; A44
    epochs: PositiveInt = 100
    batch_size: PositiveInt = 6  # section 4.1
    image_size: Annotated[int, Field(ge=64, multiple_of=32)] = 512  # side that images are scaled to
    schedule: tuple[Annotated[int, Field(ge=0)], ...] = (0, 500, 1000, 1500, 2000, 2500)  # synthetic images added
    controls: tuple[Literal["augmented", "repeated"], ...] = ("augmented", "repeated")  # on real images
    seeds: PositiveInt = 1  # trainings of each, with different seeds
    learning_rate: PositiveFloat = 0.002
    weights: dict[Detector, Path] = {}  # local files of starting weights; others start from random weights
    bootstrap: Annotated[int, Field(ge=20)] = 1000  # resamplings of scans for each interval
    python: Path | None = None  # interpreter with ultralytics; None: .venv-detect
    timeout_minutes: PositiveFloat = 600.0  # of one training
    device: str = "auto"  # ultralytics' name, such as cpu or 0

    @model_validator(mode="after")
    def _schedule_rises(self) -> "DetectionConfig":
        if not self.models or not self.schedule or list(self.schedule) != sorted(set(self.schedule)):
            raise ValueError(f"models must not be empty and schedule must rise, got {list(self.schedule)}")
        return self


class RunConfig(Section):
    """Checkpoints, logs and samples of a run; they do not change the result."""

    save_minutes: PositiveFloat = 5.0  # between checkpoints
    keep: PositiveInt = 2  # checkpoints
    log_steps: PositiveInt = 50  # between lines of the log
    samples: PositiveInt = 12  # grids per stage 2, and per phase of stage 1 at least one
    tensorboard: bool = False  # also log for TensorBoard
    evaluate: bool = False  # bin/train also does the work of bin/evaluate


class Config(Section):
    """One experiment."""

    seed: Seed = 0  # of initial weights, noise and the order of slices
    precision: Precision = "float32"  # of the networks' arithmetic; weights are float32
    data: DataConfig = DataConfig()
    masks: MasksConfig = MasksConfig()
    translation: TranslationConfig = DLPix2PixConfig()
    generation: GenerationConfig = GenerationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    detection: DetectionConfig | None = None  # None: no detectors are trained
    run: RunConfig = RunConfig()

    @property
    def system(self) -> str:
        """The system's name in results: the method, and the kind of masks if they are not from stage 1."""
        return self.translation.system + MASKS_OF[self.generation.masks]

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that the generated set needs, in the order of training."""
        return ("masks", "translation") if self.generation.masks == "stylegan" else ("translation",)

    @property
    def vgg_weights(self) -> Path | None:
        """VGG-19's file for evaluation; default: that of stage 2."""
        return self.evaluation.vgg_weights or getattr(self.translation, "vgg_weights", None)

    def decisive_settings(self) -> dict[str, Any]:
        """The settings that decide the networks, without paths of data and save intervals."""
        tree = self.model_dump(mode="json")
        chosen = {name: tree[name] for name in ("seed", "precision", "data", "masks", "translation")}
        for section, place in (("data", "root"), ("data", "prepared"), ("translation", "vgg_weights")):
            chosen[section].pop(place, None)
        for stage in ("masks", "translation"):
            if chosen[stage]["start_from"] is None:  # of runs begun before it was a setting, too
                del chosen[stage]["start_from"]
        return chosen

    @model_validator(mode="before")
    @classmethod
    def _stages_inherit(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The stages train at data.resolution in the run's precision; a file states them once."""
        if not isinstance(values, dict):
            return values
        data = values.get("data") or {}
        if not isinstance(data, dict | DataConfig):
            return values  # refused later
        resolution = data.resolution if isinstance(data, DataConfig) else data.get("resolution", 512)
        shared = {"resolution": resolution, "precision": values.get("precision", "float32")}
        values = dict(values)
        values["masks"] = _filled(values.get("masks"), shared)
        values["translation"] = _filled(values.get("translation"), {"method": "dl_pix2pix", **shared})
        return values


def _filled(section: object, shared: dict[str, Any]) -> object:
    """A stage's mapping with the shared values set where the file is silent."""
    return {**shared, **section} if isinstance(section, dict) else shared if section is None else section
