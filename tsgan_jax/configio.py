"""YAML files and `key=value` overrides to a frozen `Config`, and back.

YAML 1.2, safe, no aliases, no duplicate keys; a file says each thing once.  Every
refusal names the file, the line, the value and, for an unknown key, the nearest one that exists.
"""

import difflib
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent

from tsgan_jax.config import Config
from tsgan_jax.errors import UserError

MAX_BYTES = 1 << 18


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read one experiment.

    path: YAML file that states what differs from the defaults (the paper's settings).
    overrides: dotted settings, `"data.root=/data/LUNA16"`; values are YAML.
    Raises UserError for a file that cannot be read, an unknown key, a wrong type or a duplicate key.
    """
    path = Path(path)
    tree = _parse(_read(path), str(path))
    origins = {key: f"{path}, line {line}" for key, line in _lines(tree)}
    values = _plain(tree)
    for override in overrides:
        key, value = _split(override)
        _set(values, key, value, override)
        origins[key] = f"override '{override}'"
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(_explain(problem, origins, values, path) for problem in error.errors())) from None


def dump_config(config: BaseModel) -> str:
    """YAML text of a config, every value stated; `load_config` of it gives the same config."""
    yaml = YAML()
    yaml.default_flow_style = None
    stream = io.StringIO()
    yaml.dump(config.model_dump(mode="json"), stream)
    return stream.getvalue()


def config_hash(*sections: BaseModel | dict | Any) -> str:
    """SHA-256 (first 16 hex digits) of the values given, independent of key order."""
    plain = [s.model_dump(mode="json") if isinstance(s, BaseModel) else s for s in sections]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Nested mapping to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such config file; configs/quickstart.yaml is a complete example")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size} bytes is too large for a config")
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None


def _parse(text: str, name: str) -> CommentedMap:
    """Round-trip loading is safe (no Python objects) and remembers line numbers."""
    yaml = YAML(typ="rt")
    try:
        for event in YAML(typ="rt").parse(text):
            if isinstance(event, AliasEvent):
                raise UserError(f"{name}, line {event.start_mark.line + 1}: YAML aliases are not used here; repeat it")
        tree = yaml.load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(f"{name}, line {line}: {str(error.problem).splitlines()[0]}; keep one of the two") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(f"{name}, line {line}: not valid YAML: {error.problem}") from None
    except YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {error}") from None
    if tree is None:
        return CommentedMap()
    if not isinstance(tree, CommentedMap):
        raise UserError(f"{name}: a config is a mapping of sections, got {type(tree).__name__}")
    return tree


def _lines(tree: CommentedMap, prefix: str = "") -> Iterable[tuple[str, int]]:
    """(dotted key, line) of every key of a loaded file."""
    for key, value in tree.items():
        yield f"{prefix}{key}", tree.lc.key(key)[0] + 1
        if isinstance(value, CommentedMap):
            yield from _lines(value, f"{prefix}{key}.")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _split(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"override '{override}': write section.key=value, for example data.root=/data/LUNA16")
    tree = _parse(f"value: {text}" if text.strip() else "value: null", f"override '{override}'")
    return key.strip(), _plain(tree)["value"]


def _set(values: dict, key: str, value: Any, override: str) -> None:
    *sections, leaf = key.split(".")
    node = values
    for section in sections:
        if node.get(section) is None:  # absent, or stated as absent by a resolved config
            node[section] = {}
        node = node[section]
        if not isinstance(node, dict):
            raise UserError(f"override '{override}': '{section}' is a value, not a section")
    node[leaf] = value


def _explain(problem: Any, origins: dict[str, str], values: dict, path: Path) -> str:
    """One pydantic error in the words of the file."""
    parts = [str(part) for part in problem["loc"]]
    if len(parts) > 1 and parts[0] == "translation":  # the union's tag is not part of the key
        parts = parts[:1] + parts[2:] if parts[1] in ("dl_pix2pix", "pix2pix") else parts
    key = ".".join(parts)
    where = _origin(key, origins, path)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(parts[-1], _siblings(parts[:-1]), n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known here: {', '.join(sorted(_siblings(parts[:-1])))}"
        return f"{where}: unknown key '{key}'{hint}"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
    shown = "" if isinstance(given, dict) else f", got {given!r}"
    return f"{where}: '{key}': {message}{shown}"


def _origin(key: str, origins: dict[str, str], path: Path) -> str:
    """Where a key, or the nearest section above it, was written."""
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return str(path)


def _siblings(parts: Sequence[str]) -> list[str]:
    """Valid keys of the section that a key was found in."""
    node: Any = json.loads(Config().model_dump_json())
    for part in parts:
        node = node.get(part, {}) if isinstance(node, dict) else {}
    return list(node) if isinstance(node, dict) else []
