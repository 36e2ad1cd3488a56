"""HTML elements: text is escaped unless it is `Html` already."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tsgan_jax.labels import PALETTE

_VOID = frozenset({"img", "meta", "br"})


class Html(str):
    """Text that is markup."""

    __slots__ = ()


Child = str | Iterable["Child"] | None
"""Text, markup, nothing, or any nesting of them."""


def el(tag: str, *children: Child, **attributes: str) -> Html:
    """One element; an attribute's underscores become dashes, `class_` is `class`."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for name, value in attributes.items()
    )
    if tag in _VOID:
        return Html(f"<{tag}{named}>")
    return Html(f"<{tag}{named}>{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Html:
    """The children concatenated; None is skipped."""
    out = []
    for child in children:
        if isinstance(child, Html):
            out.append(str(child))
        elif isinstance(child, str):
            out.append(html.escape(child))
        elif child is not None:
            out.append(str(join(child)))
    return Html("".join(out))


def table(
    head: Sequence[Child], rows: Sequence[Sequence[Child]], caption: str | None = None, words: Sequence[int] = (0,)
) -> Html:
    """A table that scrolls horizontally on narrow pages; `words` are its columns of text."""
    kinds = ["w" if column in words else "v" for column in range(len(head))]
    body = [el("tr", [el("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)]) for row in rows]
    return el(
        "div",
        el(
            "table",
            el("caption", caption) if caption else None,
            el("thead", el("tr", [el("th", cell, class_=kind) for cell, kind in zip(head, kinds, strict=True)])),
            el("tbody", body),
        ),
        class_="scroll",
        tabindex="0",
    )


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """A list of names and descriptions."""
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in pairs])


def picture(pixels: NDArray[np.uint8], alt: str, **attributes: str) -> Html:
    """Grey [h, w] or RGB [h, w, 3] inside the page, with sharp pixels unless `style` changes that."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
    return el("img", src=source, alt=alt, loading="lazy", **attributes)


def mask_picture(mask: NDArray[np.uint8], alt: str) -> Html:
    """Class codes [h, w] in the label colours."""
    return picture(PALETTE[mask], alt)


def figure(content: Child, caption: Child, class_: str = "plot") -> Html:
    """An image with a caption."""
    return el("figure", content, el("figcaption", caption) if caption else None, class_=class_)
