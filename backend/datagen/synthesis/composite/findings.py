"""Sentences about the findings of a ``composite`` fit: what they mean for the previews, and what the user can do.

Functions whose names end in ``_by`` return the methods and numbers behind another sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping

from datagen.domain.wording import by_number, counted
from datagen.synthesis.composite.appearance.appearance_model import AppearanceModel
from datagen.synthesis.composite.appearance.pose import PosePrior
from datagen.synthesis.composite.appearance.shape import ShapeModel
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.placement.layout import LayoutModel

#: An area model predicts badly if its intersection over union with unseen canvases is below this.
_POOR_OVERLAP = 0.6

_TONES = {
    "two-level": "{label}: it has one of two tones, as your photos have. There is nothing to do.",
    "absolute": (
        "{label}: it has the same tone on every background. If that looks wrong on lighter or darker ones, add concept "
        "photos that show it there."
    ),
    "additive": (
        "{label}: its tone goes with the background: on a darker one it is darker too. If that looks wrong, add "
        "concept photos that show it on lighter and darker surroundings."
    ),
    "between absolute and additive": (
        "{label}: its tone goes half-way with the background. If that looks wrong, add concept photos that show it on "
        "lighter and darker surroundings."
    ),
    "undetermined": (
        "{label}: the examples do not show whether its tone goes with the background, so the previews vary that. "
        "Concept photos that show it on lighter and darker surroundings would show it."
    ),
}
_DIRECTIONS = {
    "kept": (
        "{label}: it keeps the direction of the examples. Add concept photos that show it in other directions if it "
        "may lie otherwise."
    ),
    "quarter turns": (
        "{label}: it is turned by quarter turns only, as in the examples. Add concept photos that show it in other "
        "directions if it may lie otherwise."
    ),
    "any turn": (
        "{label}: it is turned in any direction, because the examples share none. Choose “wrong direction” for "
        "previews where that looks wrong, and refine."
    ),
}
_AREAS = {
    "position": "where on the photo the drawn areas lie",
    "appearance": "what the drawn areas look like",
    "both": "where on the photo the drawn areas lie and what they look like",
}


def of_same_part(known: int, boxes: int) -> str:
    """Return a sentence about boxes that were cut out by comparison with a background of the same part."""
    return (
        f"{known} of {counted(boxes, 'example')} {by_number(known, 'was', 'were')} cut out by comparison with a "
        "background that shows the same part without the concept, which is the closest way. Add such backgrounds for "
        "other concept photos if their labels are off."
    )


def cut_out(label: str, examples: int) -> str:
    """Return a sentence about how many examples of a label are used."""
    return (
        f"{label}: {counted(examples, 'example')} {by_number(examples, 'is', 'are')} used. Where labels are off in the "
        "previews, draw the outline of the example, which replaces the automatic cut-out."
    )


def cut_out_by(label: str, methods: Mapping[str, int]) -> str:
    """Return a sentence with the methods that cut the examples out, the most frequent method first."""
    ranked = sorted(methods.items(), key=lambda item: (-item[1], item[0]))
    return f"{label}: cut out by " + ", ".join(f"{method} ({count})" for method, count in ranked) + "."


def segmented_by(model: str) -> str:
    """Return a sentence which names the segmentation model that proposed a matte for each box."""
    return f"A segmentation model proposed one more matte for each box: {model}."


def at_border(label: str, cut: int, examples: int) -> str:
    """Return a sentence about the examples that a photo's border cuts off; ``cut`` is their number."""
    return (
        f"{label}: the border of the photo cuts off {cut} of {counted(examples, 'example')}; "
        f"{by_number(cut, 'it is', 'they are')} placed at the same border of a background. Add concept photos that "
        "show all of it if it should lie elsewhere more often."
    )


def at_carrier_edge(label: str, at_edge: int, examples: int) -> str:
    """Return a sentence about the examples at the edge of their carrier; ``at_edge`` is their number."""
    return (
        f"{label}: {at_edge} of {counted(examples, 'example')} {by_number(at_edge, 'lies', 'lie')} at the edge of what "
        f"carries {by_number(at_edge, 'it', 'them')}; {by_number(at_edge, 'it is', 'they are')} placed at such edges. "
        "Draw the outline of the example if its label is off there."
    )


def soft_edges(label: str) -> str:
    """Return a sentence which says that the masks of a label extend to the drawn boxes."""
    return (
        f"{label}: its edges are soft, so its labels reach as far as the boxes you drew. Draw outlines if labels "
        "should lie closer."
    )


def counts(label: str, layouts: LayoutModel, parameters: CompositeParameters) -> str:
    """Return a sentence about the number of instances in an image, and where that number comes from."""
    if not parameters.counts_as_photographed:
        return (
            f"{label}: {parameters.instances_min} to {parameters.instances_max} instances in an image, as the "
            "parameters of the study say."
        )
    shown = sorted(photo.counts[label] for photo in layouts.photos if photo.counts.get(label))
    if shown[-1] == 1:
        number = "one in an image, as in each of the concept photos that show it"
    else:
        number = (
            f"{shown[0]} to {shown[-1]} in an image, {shown[len(shown) // 2]} on the median, as in the concept photos"
        )
    return f"{label}: {number}. If a photo shows more of them than were drawn, draw these too."


def too_many(name: str, count: int, most: int) -> str:
    """Return a sentence about a photo that shows more instances than an image may have."""
    return (
        f"concept {name}: it shows {counted(count, 'instance')}, and an image gets at most {most}. Raise "
        "“instances_max” if images should have more."
    )


def undrawn(label: str, name: str, count: int) -> str:
    """Return a sentence about a photo that seems to show more instances of a label than were drawn."""
    return (
        f"concept {name}: {counted(count, 'place')} outside the boxes {by_number(count, 'looks', 'look')} like "
        f"{label}. If {by_number(count, 'it is one', 'they are')}, draw {by_number(count, 'it', 'them')} too, so that "
        "images get as many as there are; if some cannot be drawn, set “counts_as_photographed” to false."
    )


def tones(label: str, law: AppearanceModel) -> str:
    """Return a sentence that says how the label's tone depends on the background."""
    return _TONES[law.kind].format(label=label)


def tones_by(label: str, law: AppearanceModel) -> str:
    """Return a sentence with the slope of a label's tone over the background's, and the shares of the blends."""
    blends = ", ".join(f"{name} {100 * weight:.0f} %" for name, weight in law.weights.items())
    return (
        f"{label}: of a difference between two backgrounds, the share {law.slope:.2f} ± {law.doubt:.2f} appears in its "
        f"tone ({law.kind}); blending: {blends}."
    )


def shapes(label: str, model: ShapeModel) -> str:
    """Return a sentence that says whether shapes that were not photographed are used."""
    if not any(model.shares.values()):
        return f"{label}: its shapes are those of the examples, turned, mirrored and scaled. More examples show more."
    return (
        f"{label}: some of its instances have shapes between or beside those of the examples, because the examples "
        "differ from each other in that way. Choose “does not look like it” for previews where that looks wrong, and "
        "refine."
    )


def shapes_by(label: str, model: ShapeModel) -> list[str]:
    """Return a sentence with the share of each kind of shape and the scores behind it; none if there are no scores."""
    plain, chosen = model.scores
    if math.isnan(plain):
        return []
    kinds = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in model.shares.items()) or "none"
    return [f"{label}: shapes not photographed: {kinds}; energy score of left-out shapes {plain:.2f} → {chosen:.2f}."]


def directions(label: str, prior: PosePrior) -> str:
    """Return a sentence that says how the label is rotated."""
    return _DIRECTIONS[prior.mode].format(label=label)


def directions_by(label: str, prior: PosePrior) -> str:
    """Return a sentence with the reason for the way in which a label is rotated, and the variation in size."""
    return f"{label}: direction: {prior.mode} ({prior.reason}); sizes vary by {100 * prior.size_log:.0f} %."


def area(label: str, mode: str, overlap: float) -> str:
    """Return a sentence about what the area model learned from, and whether it predicts unseen canvases well.

    Args:
        label: The label.
        mode: The mode of the label's area model.
        overlap: The model's mean intersection over union with left-out canvases.
    """
    if mode not in _AREAS:
        return (
            f"{label}: the canvases do not show what the drawn areas have in common, so it is placed anywhere. Draw "
            "all areas where it may appear on each canvas, and add canvases."
        )
    learned = f"{label}: where it may appear was learned from {_AREAS[mode]}."
    if overlap < _POOR_OVERLAP:
        return f"{learned} That predicts the other canvases badly: check the polygons, and add canvases."
    return f"{learned} Choose “wrong place” for previews where that looks wrong, and refine."


def area_by(label: str, mode: str, overlap: float) -> str:
    """Return a sentence with the mode of the area model and its intersection over union with left-out canvases."""
    return f"{label}: area by {mode}; on canvases left out it overlaps what was drawn with an IoU of {overlap:.2f}."
