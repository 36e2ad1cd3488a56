"""A study file: an experiment with a section `study` that describes the differences between its systems.

Everything outside `study` is common to the systems.  Each system may change `translation` and `generation`;
`study.budget` applies to the translation of all systems.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from tsgan_jax.config import Config, Section, TranslatorConfig
from tsgan_jax.config.reading import STUDY, TRANSLATION_METHOD, Settings, read_settings
from tsgan_jax.errors import UserError
from tsgan_jax.files import safe_name

StudyPart = Literal["images", "masks", "mask_sources", "detection"]
PREFIX = f"{STUDY}."
OWN = ("translation", "generation")
"""Sections that a system may change."""


class StudyConfig(Section):
    """The compared systems, and the results."""

    title: str
    systems: dict[str, dict[str, Any]]  # name to what it changes; in the order of figures
    budget: dict[str, Any] = {}  # settings of `translation` that every method has
    tables: tuple[Literal[1, 2, 3, 4], ...] = (1, 2, 3, 4)
    figures: tuple[Literal[4, 5], ...] = (4, 5)
    parts: tuple[StudyPart, ...] = ("images", "masks")  # of bin/evaluate
    rows: PositiveInt = Field(default=4, le=8)  # of each kind in Figure 4

    @field_validator("systems")
    @classmethod
    def _systems_change_what_they_may(cls, systems: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if not systems:
            raise ValueError("name at least one system")
        for name, changes in systems.items():
            try:
                safe_name(name, "name of a system")
            except UserError as error:
                raise ValueError(str(error)) from None
            strange = sorted(changes.keys() - set(OWN))
            if strange:
                raise ValueError(f"{name} changes {strange[0]!r}; a system may change {' and '.join(OWN)} only")
        return systems

    @field_validator("budget")
    @classmethod
    def _budget_fits_every_method(cls, budget: dict[str, Any]) -> dict[str, Any]:
        known = [name for name in TranslatorConfig.model_fields if name not in ("resolution", "precision")]
        strange = sorted(budget.keys() - set(known))
        if strange:
            raise ValueError(f"{strange[0]!r} is not a setting that every method has; those are {', '.join(known)}")
        return budget

    @model_validator(mode="after")
    def _figures_have_their_images(self) -> "StudyConfig":
        if self.figures and "images" not in self.parts:
            raise ValueError("figures need the arrays of part images; add images to parts, or set figures: []")
        return self


@dataclass(frozen=True)
class Study:
    """A study as validated.  systems: name to the whole experiment of that system."""

    settings: StudyConfig
    systems: Mapping[str, Config]
    path: Path


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study.

    overrides: `study.<key>=value` for the section; all others apply to each system, last.
    Raises UserError as `load_config` does; an error in a system's settings has its line.
    """
    file = read_settings(path).overridden([one for one in overrides if one.startswith(PREFIX)])
    chosen = file.at(STUDY).validated(StudyConfig, PREFIX)
    common = [one for one in overrides if not one.startswith(PREFIX)]
    systems = {}
    for name in chosen.systems:
        try:
            systems[name] = _system(file, name).overridden(common).validated(Config)
        except UserError as error:
            raise UserError("\n".join(f"system {name}: {line}" for line in str(error).splitlines())) from None
    return Study(chosen, systems, Path(path))


def _system(file: Settings, name: str) -> Settings:
    """The experiment of one system."""
    own = file.at(f"{STUDY}.systems.{name}")
    method = (own.values.get("translation") or {}).get("method")
    budget = file.at(f"{STUDY}.budget", "translation")
    common = file.without(STUDY)
    if method is None:
        method = (common.values.get("translation") or {}).get("method", TRANSLATION_METHOD)
    budget.values["translation"]["method"] = method  # so that settings of another method are removed
    return own.over(budget.over(common))
