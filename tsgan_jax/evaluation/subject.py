"""The subject of an evaluation: a run's networks, its set and the real slices, each loaded on first use."""

from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from tsgan_jax.config import Config, DataConfig
from tsgan_jax.data.luna16 import prepare
from tsgan_jax.data.pipeline import SliceSet, load, training_folds
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import networks
from tsgan_jax.evaluation.features import Features, gather
from tsgan_jax.evaluation.records import DATA, FOLDER, Kind, MakeRecord, Record
from tsgan_jax.evaluation.regions import Pairs, Region, View
from tsgan_jax.evaluation.sources import GeneratedSet
from tsgan_jax.files import replacing, write_json
from tsgan_jax.generation import runs
from tsgan_jax.generation.generate import generate_run, translate
from tsgan_jax.generation.manifest import ANNOTATIONS, manifest_path
from tsgan_jax.generation.runs import fingerprint
from tsgan_jax.images import Window, to_uint8
from tsgan_jax.masks.sample import MaskGenerator
from tsgan_jax.train.learner import stream

Say = Callable[[str], None]
Source = Literal["test", "training", "generated", "translated"]
"""CT of real test and training slices, of the set, and of real test masks by the run's translator."""


DEFAULT_SET = "synthetic"


class Subject:
    """A run being evaluated.

    run: its directory; config: the run's, with `evaluation.*` and paths as the user has them now; set_name: the
    set under sets/ that stands for its output.  Every property raises UserError where what it needs is missing;
    so does a set_name that no set has, unless it is the default one, which is made.
    """

    def __init__(self, run: Path, config: Config, set_name: str = DEFAULT_SET, say: Say = print) -> None:
        self.run, self.config, self.say = run, config, say
        self.set_path = _set_path(run / "sets", set_name)
        self.folder = run / FOLDER
        self.window: Window = config.data.hu_window
        folds = config.data.test_folds
        self.fold = folds[0] if len(folds) == 1 else None
        self._features: dict[tuple[Source, Region], Features] = {}

    def record(self, kind: Kind, **fields: Any) -> MakeRecord:
        """What makes its records of a kind; fields: what they have in common."""
        return partial(Record, kind, self.config.system, **fields)

    @cached_property
    def test(self) -> SliceSet:
        """Real slices that no network of the run has seen."""
        return load(self._data, self.config.data.test_folds)

    @cached_property
    def training(self) -> SliceSet:
        """Real slices that its networks were trained on."""
        return load(self._data, training_folds(self.config.data))

    @cached_property
    def stage_1(self) -> tuple[MaskGenerator, dict[str, Any]]:
        """The generator of masks, fully trained or not, and its checkpoint."""
        return runs.restore_masks(self.run, self.config, self.say)

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel of stage 1's masks."""
        return runs.pixel_mm(self.run, self.config)

    @cached_property
    def generated(self) -> GeneratedSet:
        """The set; the default one is made, or finished, first where need be."""
        if self.set_path.name == DEFAULT_SET and not (self.set_path / ANNOTATIONS).is_file():
            self.say(f"set {self.set_path.name}: not there or not finished, so it is generated first")
            generate_run(self.run, None, self.set_path, say=self.say)
        return GeneratedSet(self.set_path, self.config.evaluation.count)

    @cached_property
    def translated(self) -> NDArray[np.int16]:
        """CT of the real test masks by the run's translator, HU [n, r, r]."""
        translator, state, _ = runs.restore_translation(self.run, self.config, self.say)
        key = stream(jax.random.key(self.config.generation.seed), "ct of test masks")
        return np.rint(translate(translator, state, self.test.mask, key, self.window)).astype(np.int16)

    @cached_property
    def network(self) -> networks.FeatureNetwork:
        """The feature network that `evaluation.features` names."""
        return networks.load(self.config.evaluation, self.config.vgg_weights, self.say)

    def features(self, source: Source, region: Region = "full") -> Features:
        """Features of a region of a source's slices."""
        if (source, region) not in self._features:
            view = View(lambda: self.pairs(source), region)
            cache = self.folder / "cache" if source in ("test", "training") else None
            self._features[source, region] = gather(self.network, view, cache)
        return self._features[source, region]

    def pairs(self, source: Source) -> Pairs:
        """8-bit CT in the window with masks, read one by one."""
        if source == "generated":
            return zip(self.generated.shown(), self.generated.masks(), strict=True)
        slices = self.training if source == "training" else self.test
        ct = self.translated if source == "translated" else slices.ct
        return ((to_uint8(hu, self.window), mask) for hu, mask in zip(ct, slices.mask, strict=True))

    @cached_property
    def made_from(self) -> dict[str, Any]:
        """Hashes of the set and of both kinds of real slices."""
        return {"set": self.generated.sha256, **self.real_hashes}

    @cached_property
    def real_hashes(self) -> dict[str, str]:
        """Hashes of both kinds of real slices."""
        real = {"test": self.test, "training": self.training}
        return {f"{name}_slices": fingerprint((slices.ct, slices.mask)) for name, slices in real.items()}

    def keep(self, name: str, **arrays: Any) -> None:
        """Store arrays for the report's images, in <run>/evaluation/<name>.npz."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{name}.npz") as temporary:
            np.savez_compressed(temporary, **arrays)

    @cached_property
    def _data(self) -> DataConfig:
        """The config of the data, prepared if needed; the summary is stored for the data card."""
        made = prepare(self.config.data)
        facts = asdict(made.summary) | {"phantom": self.config.data.root is None, "prepared": made.directory.name}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / DATA, facts, indent=1)
        return self.config.data


def _set_path(sets: Path, name: str) -> Path:
    """The folder of a set; UserError where there is none of that name and it is not one to be made."""
    known = sorted(path.name for path in sets.glob("*/") if manifest_path(path))
    if name not in known and name != DEFAULT_SET:
        raise UserError(
            f"{sets}: holds no set {name!r}; there are: {', '.join(known) or 'none'}; bin/generate makes a new one"
        )
    return sets / name
