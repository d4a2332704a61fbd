"""The overlay gallery as an artifact of the UI."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_markdown_artifact

from storage.refs import FileRef
from tasks.context import RunContext
from tasks.overlay_gallery import overlay_gallery

_ACROSS = 2


def show_gallery(context: RunContext, tables: dict[str, FileRef]) -> None:
    """Draw some masks of the run and put them into the UI."""
    shown = overlay_gallery.submit(context, tables).result()
    create_markdown_artifact(gallery_markdown(shown), key="masks", description=f"Masks of {context.title}")


def gallery_markdown(shown: list[dict[str, Any]]) -> str:
    """Return the pictures as a Markdown table of bounded size; the pictures stand in it, since the UI may not reach the store."""
    lines = ["Coarse mask yellow, refined mask red (over it where they agree). Least sure first.", ""]
    lines += ["| " * _ACROSS + "|", "| --- " * _ACROSS + "|"]
    for start in range(0, len(shown), _ACROSS):
        cells = [_cell(item) for item in shown[start : start + _ACROSS]]
        lines.append("| " + " | ".join(cells + [""] * (_ACROSS - len(cells))) + " |")
    return "\n".join(lines)


def _cell(item: dict[str, Any]) -> str:
    return f"![lesion](data:image/jpeg;base64,{item['jpeg']}) {inert(item['image_id'])}: {item['why']}"


def inert(text: str) -> str:
    """Return text that Markdown and HTML show as it is: a name of an image may hold anything."""
    return "".join(c if c.isalnum() or c in "-_. " else f"&#{ord(c)};" for c in text)
