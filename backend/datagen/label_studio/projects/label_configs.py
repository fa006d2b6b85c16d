"""Label configs: the templates in ``label_config/`` filled with a study's labels and the domain's choices.

A template is a valid label config. An element with ``{label}``, ``{reason}`` or ``{action}`` in its ``value`` is
repeated once for each. Values become XML attributes through a tree, never through text, so nothing needs escaping by
hand.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from importlib.resources import files
from xml.etree import ElementTree as ET

from datagen.domain.decision import ACTIONS
from datagen.domain.inputs import ProjectKind
from datagen.domain.verdict import Reason
from datagen.errors import InputProblem
from datagen.label_studio.mapping.regions import AREA

#: The golden angle as a part of the circle: hues that far apart stay distinct however many there are.
_HUE_STEP = 0.381966
#: The first label's hue: orange, which shows on grey metal, tissue and green boards alike.
_FIRST_HUE = 0.08


def render(kind: ProjectKind, labels: Sequence[str]) -> str:
    """The label config of a desk for a study with these labels.

    Raises:
        InputProblem: no label, or one that XML cannot carry.
    """
    if not labels:
        raise InputProblem("a study needs at least one label.")
    for label in labels:
        if not label.strip() or not label.isprintable():
            raise InputProblem(f"the label {label!r} cannot be shown; use visible characters on one line.")
    several = [label for label in labels if label != AREA] if len(labels) > 1 else []
    values = {
        "{label}": several if kind is ProjectKind.CANVASES else list(labels),
        "{reason}": [str(one) for one in Reason],
        "{action}": [str(one) for one in ACTIONS],
    }
    root = deepcopy(_template(kind))
    for parent in list(root.iter()):
        _fill(parent, values)
    return ET.tostring(root, encoding="unicode")


def colour(number: int) -> str:
    """The colour of the label of that number, from 0, as ``#rrggbb``: the same on every desk."""
    red, green, blue = colorsys.hsv_to_rgb(
        (_FIRST_HUE + number * _HUE_STEP) % 1.0, 0.9, 1.0 if number % 2 == 0 else 0.8
    )
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def same(one: str, other: str) -> bool:
    """Whether two label configs say the same, whatever their blanks and order of attributes."""
    try:
        return ET.canonicalize(one, strip_text=True) == ET.canonicalize(other, strip_text=True)
    except ET.ParseError:
        return False


@cache
def _template(kind: ProjectKind) -> ET.Element:
    # the folder is linked into the package, so that it is found in a checkout and in an installed wheel alike
    text = files("datagen").joinpath("label_config", f"{kind.value.lower()}.xml").read_text(encoding="utf-8")
    return ET.fromstring(text)  # noqa: S314 - our own file


def _fill(parent: ET.Element, values: Mapping[str, Sequence[str]]) -> None:
    """Repeat each child that stands for several values."""
    for child in list(parent):
        if (wanted := values.get(child.get("value", ""))) is None:
            continue
        place = list(parent).index(child)
        parent.remove(child)
        for number, value in enumerate(wanted):
            one = deepcopy(child)
            one.set("value", value)
            if one.get("background") == "{colour}":
                one.set("background", colour(number))
            parent.insert(place + number, one)
