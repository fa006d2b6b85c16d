"""Regions and form answers in the form in which Label Studio sends them. Tests change them."""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT = 200, 100


def region(control: str, kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "from_name": control,
        "to_name": "image",
        "type": kind,
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": value,
        "origin": "manual",
        **more,
    }


def box(x: Any, y: Any, width: Any, height: Any, rotation: Any = 0, label: Any = "dent", **more: Any) -> dict[str, Any]:
    """Return a box region; its numbers are in percent of the picture."""
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": [label]}
    return region("concept", "rectanglelabels", value, **more)


def polygon(*points: Any, control: str = "canvas", label: Any = "area", **more: Any) -> dict[str, Any]:
    """Return a polygon region; its points are in percent of the picture."""
    value = {"points": [list(point) for point in points], "closed": True, "polygonlabels": [label]}
    return region(control, "polygonlabels", value, **more)


def choice(control: str, *chosen: Any) -> dict[str, Any]:
    return region(control, "choices", {"choices": list(chosen)})


def text(control: str, *lines: Any) -> dict[str, Any]:
    return region(control, "textarea", {"text": list(lines)})


def number(control: str, value: Any) -> dict[str, Any]:
    return region(control, "number", {"number": value})
