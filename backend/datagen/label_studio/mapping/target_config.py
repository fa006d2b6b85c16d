"""The control of a foreign project that takes a study's labels, found in its label config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from datagen.domain.wording import counted
from datagen.errors import InputProblem

#: The controls that can hold the shape of an object, best first: polygon, mask, box.
CONTROLS = ("PolygonLabels", "BrushLabels", "RectangleLabels")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetControl:
    """A control of labels, and the image that it belongs to."""

    #: one of ``CONTROLS``
    tag: str
    #: the control's name, the image's name, and the key of the task's data with the image's address
    name: str
    image: str
    data_key: str


def target_control(config: str, labels: Sequence[str], project: str) -> TargetControl:
    """Return the first control, in the order of ``CONTROLS``, that has all ``labels``.

    Args:
        config: the project's label config.
        labels: the study's labels.
        project: the project, for error messages.

    Raises:
        InputProblem: there is none; the sentence names the missing labels.
    """
    try:
        root = fromstring(config)
    except (ET.ParseError, DefusedXmlException) as fault:
        raise InputProblem(f"the labeling interface of {project} cannot be read ({fault}); correct it there") from fault
    images = {tag.get("name"): tag for tag in root.iter("Image") if str(tag.get("value", "")).startswith("$")}
    controls = [
        tag
        for kind in CONTROLS
        for tag in root.iter(kind)
        if tag.get("toName", "").split(",")[0] in images and tag.get("name")
    ]
    if not controls:
        raise InputProblem(
            f"the labeling interface of {project} has no {', '.join(CONTROLS[:-1])} or {CONTROLS[-1]} for an image; "
            "add one there, or name another project"
        )
    for control in controls:
        if not _missing(control, labels):
            image = images[control.get("toName", "").split(",")[0]]
            return TargetControl(
                tag=control.tag,
                name=str(control.get("name")),
                image=str(image.get("name")),
                data_key=str(image.get("value")).removeprefix("$"),
            )
    missing = _missing(controls[0], labels)
    raise InputProblem(
        f"the {controls[0].tag} “{controls[0].get('name')}” of {project} lacks {counted(len(missing), 'label')} of the "
        f"study: {', '.join(missing)}; add {'it' if len(missing) == 1 else 'them'} to its labeling interface, "
        "or name another project"
    )


def _missing(control: ET.Element, labels: Sequence[str]) -> list[str]:
    values = {label.get("value") for label in control.iter("Label")}
    return [label for label in labels if label not in values]
