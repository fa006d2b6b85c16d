"""The changes between a version's inputs and the current ones are counted by role."""

from __future__ import annotations

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage, ConceptRegion, ImageRef, Inputs
from datagen.domain.spec import Spec
from datagen.workflow.inputs.input_changes import changes


def image(digest: str, name: str = "photo.png") -> ImageRef:
    return ImageRef(digest=digest, width=8, height=8, name=name)


def concept(digest: str, left: float) -> ConceptImage:
    region = ConceptRegion(label="pit", box=Box(x=left, y=1, width=2, height=2))
    return ConceptImage(image=image(digest), regions=(region,))


def version(concepts: list[ConceptImage], backgrounds: list[ImageRef]) -> Spec:
    images = {"concepts": tuple(concepts), "canvases": (), "backgrounds": tuple(backgrounds)}
    return Spec.from_json(Spec(engine="composite", labels=("pit",), **images).to_json())


def test_equal_inputs_have_not_changed_whatever_their_order_and_names() -> None:
    before = version([concept("a", 1), concept("b", 2)], [image("x")])
    now = Inputs(concepts=(concept("b", 2), concept("a", 1)), backgrounds=(image("x", name="renamed.png"),))
    assert changes(before, now) == []


def test_added_redrawn_and_removed_images_are_counted_apart() -> None:
    before = version([concept("a", 1), concept("b", 2)], [image("x"), image("y")])
    now = Inputs(concepts=(concept("a", 3), concept("b", 2), concept("c", 1)), backgrounds=(image("y"),))
    assert changes(before, now) == [
        "1 concept image added",
        "1 concept image drawn anew",
        "1 background image no longer used",
    ]
