"""Label configs: the templates in ``label_config/``, filled with a study's labels and the domain's choices.

A template is itself a valid label config. An element whose ``value`` is ``{label}``, ``{reason}`` or ``{action}`` is
repeated for each label, reason or action. Values are set as attributes of an XML tree, so they need no manual escaping.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from importlib.resources import files
from xml.etree import ElementTree as ET

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from datagen.domain.decision import ACTIONS
from datagen.domain.inputs import ProjectKind
from datagen.domain.verdict import Reason
from datagen.errors import InputProblem
from datagen.label_studio.mapping.regions import AREA

#: Distance between the hues of two successive labels, as a fraction of the circle. It is the golden angle, with which
#: hues remain distinct for any number of labels.
_HUE_STEP = 0.381966
#: Hue of the first label as a fraction of the circle. It is orange, which is visible on grey metal, tissue and green
#: boards.
_FIRST_HUE = 0.08


def render(kind: ProjectKind, labels: Sequence[str]) -> str:
    """The label config of a project kind, for a study with these labels.

    Raises:
        InputProblem: There are no labels, or XML cannot represent a label.
    """
    if not labels:
        raise InputProblem("a study needs at least one label.")
    for label in labels:
        if not label.strip() or not label.isprintable():
            raise InputProblem(f"the label {label!r} cannot be shown; use visible characters on one line.")
    concepts = [label for label in labels if label != AREA] if len(labels) > 1 else []
    values = {
        "{label}": concepts if kind is ProjectKind.CANVASES else list(labels),
        "{reason}": [str(reason) for reason in Reason],
        "{action}": [str(action) for action in ACTIONS],
    }
    root = deepcopy(_template(kind))
    for parent in list(root.iter()):
        _fill(parent, values)
    return ET.tostring(root, encoding="unicode")


def colour(number: int) -> str:
    """The colour ``#rrggbb`` of the label with this number, from 0. It is the same in every project kind."""
    red, green, blue = colorsys.hsv_to_rgb(
        (_FIRST_HUE + number * _HUE_STEP) % 1.0, 0.9, 1.0 if number % 2 == 0 else 0.8
    )
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def same(config: str, other: str) -> bool:
    """Whether two label configs are equal except for white space and the order of attributes."""
    try:
        return ET.canonicalize(config, strip_text=True) == ET.canonicalize(other, strip_text=True)
    except ET.ParseError:
        return False


def without_boxes(config: str) -> str:
    """A label config of Dataset without its control for boxes, which only earlier versions of Datagen created."""
    try:
        root = fromstring(config)
    except (ET.ParseError, DefusedXmlException):
        return config
    for parent in list(root.iter()):
        for child in list(parent):
            if child.get("name") == "box" or (child.tag == "Header" and child.get("value") == "Boxes"):
                parent.remove(child)
    return ET.tostring(root, encoding="unicode")


@cache
def _template(kind: ProjectKind) -> ET.Element:
    # the folder is linked into the package, so the path is valid in a checkout and in an installed wheel
    text = files("datagen").joinpath("label_config", f"{kind.value.lower()}.xml").read_text(encoding="utf-8")
    return ET.fromstring(text)  # noqa: S314 - trusted file of this package


def _fill(parent: ET.Element, values: Mapping[str, Sequence[str]]) -> None:
    """Repeat each child of ``parent`` whose ``value`` is a placeholder, once for each of the placeholder's values."""
    for child in list(parent):
        if (replacements := values.get(child.get("value", ""))) is None:
            continue
        position = list(parent).index(child)
        parent.remove(child)
        for number, value in enumerate(replacements):
            element = deepcopy(child)
            element.set("value", value)
            if element.get("background") == "{colour}":
                element.set("background", colour(number))
            parent.insert(position + number, element)
