"""Reading of YAML files and `key=value` overrides to a frozen `Config`, and writing of YAML.

Files are safe YAML 1.2 without aliases and duplicate keys.  `base: FILE` (a path relative to the file) loads the
settings of another file, which the file's own settings override key by key.  A different `translation.method` discards
that section of the base, because methods have different settings.  Every error names the file, the line, the value
and, for an unknown key, the nearest valid one.
"""

import difflib
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from tsgan_jax.config import Config, TranslationConfig
from tsgan_jax.errors import UserError

MAX_BYTES = 1 << 18
MAX_DEPTH = 32
BASE, STUDY = "base", "study"

M = TypeVar("M", bound=BaseModel)

METHOD_SECTIONS: Mapping[str, type[BaseModel]] = {
    section.model_fields["method"].default: section for section in get_args(get_args(TranslationConfig)[0])
}
"""The settings of each method of stage 2."""
TRANSLATION_METHOD = "dl_pix2pix"  # the default method


@dataclass(frozen=True)
class Settings:
    """Values from files and the command line before validation.

    origins: dotted key to its file and line, for error messages.  path: the requested file.
    """

    values: dict[str, Any]
    origins: dict[str, str]
    path: Path

    def over(self, base: "Settings") -> "Settings":
        """These settings merged over `base`, key by key."""
        before, now = base.values.get("translation"), self.values.get("translation")
        if isinstance(before, dict) and isinstance(now, dict):
            method = before.get("method", TRANSLATION_METHOD)
            if now.get("method", method) != method:
                base = base.without("translation")
        return Settings(_laid_over(base.values, self.values), base.origins | self.origins, self.path)

    def overridden(self, overrides: Sequence[str]) -> "Settings":
        """These settings with `key=value` of the command line, whose values are YAML, set over them."""
        values, origins = _plain(self.values), dict(self.origins)
        for override in overrides:
            key, equals, text = override.partition("=")
            key, shown = key.strip(), f"override '{override}'"
            if not equals or not key:
                raise UserError(f"{shown}: write section.key=value, for example data.root=/data/LUNA16")
            value = _plain(_parse(f"value: {text.strip() or 'null'}", shown))["value"]
            _set(values, key, value, shown)
            origins[key] = shown
        return Settings(values, origins, self.path)

    def at(self, key: str, under: str = "") -> "Settings":
        """The mapping at a dotted key, as settings below `under`."""
        values: Any = self.values
        for part in key.split("."):
            values = values.get(part) or {}
        prefix = f"{under}." if under else ""
        start = len(key) + 1
        origins = {prefix + name[start:]: o for name, o in self.origins.items() if name.startswith(f"{key}.")}
        if under:
            origins[under] = origin_of(key, self.origins, self.path)
            values = {under: values}
        return Settings(_plain(values), origins, self.path)

    def without(self, *keys: str) -> "Settings":
        """These settings without some sections."""
        return Settings({k: v for k, v in self.values.items() if k not in keys}, self.origins, self.path)

    def validated(self, model: type[M], prefix: str = "") -> M:
        """These settings as `model`; UserError names every invalid value.  prefix: of the keys in the file."""
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            lines = (_explain(problem, self, model, prefix) for problem in error.errors())
            raise UserError("\n".join(lines)) from None


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read one experiment.

    path: YAML file with the differences from the defaults (the paper's settings), or the name of a config of this
    package, as `found_config` reads it.
    overrides: dotted settings, `"data.root=/data/LUNA16"`; values are YAML.
    Raises UserError for a file that cannot be read, an unknown key, a wrong type or a duplicate key.
    """
    file = read_settings(path)
    if STUDY in file.values:
        raise UserError(
            f"{origin_of(STUDY, file.origins, file.path)}: '{STUDY}' compares several experiments, so the file is not "
            "one experiment; use bin/train"
        )
    return file.overridden(overrides).validated(Config)


def run_config(run: Path, overrides: Sequence[str] = ()) -> Config:
    """The config of a run directory, or of packed networks; UserError if a folder is neither."""
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run}: not a run directory (it has no config.yaml); bin/train makes one")
    return load_config(run / "config.yaml", overrides)


def read_settings(path: str | Path) -> Settings:
    """The settings of a file and its bases.  Raises UserError for a file that cannot be read or is its own base."""
    return _read_over_bases(found_config(Path(path)), ())


def found_config(path: Path) -> Path:
    """`path` if it is a file; else the config of this package that it names, as `quickstart`, `tables/table1_cpu` or
    `configs/quickstart.yaml`.  UserError, with all their names, if there is none.
    """
    if path.is_file():
        return path
    folder = Path(str(resources.files("tsgan_jax") / "configs"))
    names = sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))
    name = path.as_posix().removeprefix("configs/").removesuffix(".yaml")
    if name not in names:
        raise UserError(f"{path}: no such config file, nor a config of this package; those are {', '.join(names)}")
    return folder / f"{name}.yaml"


def is_study(path: str | Path) -> bool:
    """Whether a file compares several experiments; UserError if it cannot be read."""
    return STUDY in read_settings(path).values


def dump_config(config: BaseModel) -> str:
    """YAML text of a config with every value; `load_config` of it gives the same config."""
    yaml = YAML()
    yaml.default_flow_style = None
    stream = io.StringIO()
    yaml.dump(config.model_dump(mode="json"), stream)
    return stream.getvalue()


def with_absolute_paths(section: M) -> M:
    """The same settings with every relative path, seen from the working directory, as an absolute one."""
    return section.model_copy(update={name: _absolute(getattr(section, name)) for name in type(section).model_fields})


def _absolute(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return with_absolute_paths(value)
    if isinstance(value, dict):
        return {key: _absolute(item) for key, item in value.items()}
    return value.absolute() if isinstance(value, Path) else value


def config_hash(*sections: BaseModel | Any) -> str:
    """SHA-256 (first 16 hex digits) of the values given, independent of key order."""
    plain = [s.model_dump(mode="json") if isinstance(s, BaseModel) else s for s in sections]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _read_over_bases(path: Path, above: tuple[Path, ...]) -> Settings:
    """Settings of a file over its bases.  above: the chain of files whose `base` led here."""
    tree = _parse(_read(path), str(path))
    settings = Settings(_plain(tree), {key: f"{path}, line {line}" for key, line in _lines(tree)}, path)
    if BASE not in settings.values:
        return settings
    where, base = settings.origins[BASE], settings.values[BASE]
    if not isinstance(base, str) or not base:
        raise UserError(f"{where}: 'base': give one file, as a path from this one; got {base!r:.200}")
    chain = (*above, path)
    target = path.parent / base
    try:
        itself, there = target.resolve() in {one.resolve() for one in chain}, target.is_file()
    except (OSError, ValueError) as error:  # such as a name that is too long
        raise UserError(f"{where}: 'base': {base!r:.200} is no path ({error})") from None
    if itself:
        raise UserError(f"{where}: 'base': {' -> '.join(map(str, (*chain, target)))} leads back to itself")
    if not there:
        raise UserError(f"{where}: 'base': {target} does not exist; the path starts from the folder of {path.name}")
    return settings.without(BASE).over(_read_over_bases(target, chain))


def _laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged


def _read(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size} bytes is too large for a config")
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None


def _parse(text: str, name: str) -> CommentedMap:
    """Parse YAML; round-trip loading is safe (no Python objects) and keeps line numbers."""
    yaml = YAML(typ="rt")
    try:
        _check_events(text, name)
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        where = f"{name}, line {error.problem_mark.line + 1}" if error.problem_mark else name
        if isinstance(error, DuplicateKeyError):
            raise UserError(f"{where}: {str(error.problem).splitlines()[0]}; keep one of the two") from None
        raise UserError(f"{where}: not valid YAML: {error.problem}") from None
    except (YAMLError, ValueError) as error:  # ValueError: a date or a number that is none
        raise UserError(f"{name}: not valid YAML: {error}") from None
    if tree is None:
        return CommentedMap()
    if not isinstance(tree, CommentedMap):
        raise UserError(f"{name}: a config is a mapping of sections, got {type(tree).__name__}")
    return tree


def _check_events(text: str, name: str) -> None:
    """Raise UserError for aliases and tags, which no setting needs, and for nesting on which the parser would hang."""
    depth = 0
    for event in YAML(typ="rt").parse(text):
        where = f"{name}, line {event.start_mark.line + 1}"
        if isinstance(event, AliasEvent):
            raise UserError(f"{where}: YAML aliases are not allowed here; repeat the value")
        if getattr(event, "tag", None):
            raise UserError(f"{where}: YAML tags are not allowed here; write the plain value")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UserError(f"{where}: more than {MAX_DEPTH} levels of brackets or indentation; no setting has so many")


def _lines(tree: CommentedMap, prefix: str = "") -> Iterator[tuple[str, int]]:
    """(dotted key, line) of every key of a loaded file."""
    for key, value in tree.items():
        yield f"{prefix}{key}", tree.lc.key(key)[0] + 1
        if isinstance(value, CommentedMap):
            yield from _lines(value, f"{prefix}{key}.")


def _plain(value: Any) -> Any:
    """A copy as plain dictionaries and lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _set(values: dict[str, Any], key: str, value: Any, shown: str) -> None:
    """Set a dotted key; shown: the override, for the error where a value is on the way."""
    *sections, leaf = key.split(".")
    for section in sections:
        if values.get(section) is None:  # missing, or null in a resolved config
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise UserError(f"{shown}: '{section}' is a value, not a section")
    values[leaf] = value


def _explain(problem: Any, settings: Settings, model: type[BaseModel], prefix: str) -> str:
    """One pydantic error as a message about the file."""
    parts = [str(part) for part in problem["loc"]]
    if model is Config and parts[0] == "translation" and parts[1:2] and parts[1] in METHOD_SECTIONS:
        del parts[1]  # the union's tag is not part of the key
    key = ".".join(parts)
    where, named = origin_of(key, settings.origins, settings.path), prefix + key
    if problem["type"] == "extra_forbidden":
        known = _siblings(model, parts[:-1], settings.values)
        near = difflib.get_close_matches(parts[-1], known, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known here: {', '.join(sorted(known))}"
        return f"{where}: unknown key '{named}'{hint}"
    given = "" if isinstance(problem["input"], dict) else f", got {problem['input']!r}"
    return f"{where}: '{named}': {problem['msg'].removeprefix('Value error, ')}{given}"


def origin_of(key: str, origins: Mapping[str, str], path: Path) -> str:
    """File and line of a key, or of the nearest section above it."""
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return str(path)


def _siblings(model: type[BaseModel], parts: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Valid keys of the section of a key."""
    for part in parts:
        if model is Config and part == "translation":
            model = METHOD_SECTIONS[(values.get(part) or {}).get("method", TRANSLATION_METHOD)]
            continue
        field = model.model_fields.get(part)
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not sections:
            return []
        model = sections[0]
    return list(model.model_fields)
