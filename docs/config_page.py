"""Writes docs/config.md from the models of the config: `python docs/config_page.py > docs/config.md`.

A key's meaning and source are the comment next to it in the model; a section's are the class's docstring.
"""

import inspect
import json
import re
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from tsgan_jax.config import Config, PhantomConfig
from tsgan_jax.config.data import Section
from tsgan_jax.config.reading import METHOD_SECTIONS, TRANSLATION_METHOD
from tsgan_jax.study.settings import StudyConfig

HEAD = """\
# Every key of a config

A config states what differs from these defaults, which are the paper's settings where the paper has them; the command
line sets any key, as in `masks.learning_rate=0.001`. `base: FILE` lays a file over another one. `null` is none.
A-numbers are readings of the paper's gaps ([paper.md](paper.md)), sections and equations those of the paper. Made from
the models in [`tsgan_jax/config`](../tsgan_jax/config) by `python docs/config_page.py > docs/config.md`.
"""


def comments_of(model: type[BaseModel]) -> dict[str, str]:
    """The comment of each field that the class itself has."""
    lines = re.findall(r"^    (\w+): [^#\n]*?(?:  # (.*))?$", inspect.getsource(model), flags=re.MULTILINE)
    return {name: comment for name, comment in lines if name in vars(model)["__annotations__"]}


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """The values of a field that has a few."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType, tuple) else ()
    return tuple(choice for part in parts for choice in choices_of(part))


def shown(value: Any) -> str:
    """A value as YAML has it."""
    return "`" + json.dumps(value).replace('"', "") + "`"


def rows(model: type[BaseModel], prefix: str) -> list[str]:
    """The table of a section's own keys."""
    found = ["| key | default | values | meaning, source |", "|---|---|---|---|"]
    for name, comment in comments_of(model).items():
        field = model.model_fields[name]
        if isinstance(field.default, BaseModel) or name == "method":
            continue
        if field.is_required():
            default = "required"
        else:
            value = json.loads(model.model_construct(**{name: field.default}).model_dump_json(include={name}))[name]
            default = shown(value)
        values = ", ".join(map(shown, choices_of(field.annotation)))
        found.append(f"| `{prefix}{name}` | {default} | {values} | {comment} |")
    return found


def section(title: str, model: type[BaseModel], prefix: str, level: str = "##") -> list[str]:
    """A heading, what the class is, its keys."""
    return ["", f"{level} {title}", " ".join((inspect.getdoc(model) or "").split()), "", *rows(model, prefix)]


def page() -> str:
    """The whole page."""
    lines = [HEAD.rstrip(), *section("The top level", Config, "")]
    for name, field in Config.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if inspect.isclass(kind)]
        model = next((kind for kind in kinds if issubclass(kind, Section)), None)
        if name == "translation":
            lines += methods()
        elif model is not None:
            lines += section(f"`{name}`", model, f"{name}.")
            if name == "data":
                lines += section("`data.phantom`", PhantomConfig, "data.phantom.", "###")
    return "\n".join([*lines, *section("`study`", StudyConfig, "study.")]) + "\n"


def methods() -> list[str]:
    """The section of stage 2: what all methods have, then what each has or sets otherwise."""
    common = {base for model in METHOD_SECTIONS.values() for base in model.__mro__} - set(METHOD_SECTIONS.values())
    shared = [base for base in common if issubclass(base, Section) and base is not Section]
    lines: list[str] = ["", "## `translation`", f"`translation.method` chooses one; default `{TRANSLATION_METHOD}`."]
    for base in sorted(shared, key=lambda base: len(base.__mro__)):
        lines += section(f"`translation`: {base.__name__}", base, "translation.", "###")
    for method, model in METHOD_SECTIONS.items():
        parent = model.__mro__[1]
        of = next((name for name, one in METHOD_SECTIONS.items() if one is parent), parent.__name__)
        lines += [*section(f"`translation.method: {method}`", model, "translation.", "###")[:3]]
        lines += ["", f"As {of}, and:", "", *rows(model, "translation.")]
    return lines


if __name__ == "__main__":
    print(page(), end="")
