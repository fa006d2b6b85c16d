"""Outlines that reviewers correct on previews become the outlines of the concepts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ConceptImage, ConceptRegion
from datagen.domain.trace import ConceptChoice, InstanceTrace, Trace
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import EngineError
from datagen.synthesis.composite.extraction.corrected_outlines import CORRECTED, with_corrected_outlines
from datagen.synthesis.composite.parameters import (
    MAX_CORRECTED_CONCEPTS,
    MAX_OUTLINE_CORNERS,
    MAX_OUTLINE_PARTS,
    CompositeParameters,
)
from datagen.synthesis.composite.refinement.corrected_mattes import use_corrections
from datagen.synthesis.composite.refinement.refine import refine
from datagen.synthesis.engine import CorrectedInstance, ReviewedSample, load_engine
from synthesis_studies import make_study, plate

#: A shape that no rotation or reflection maps to itself, its top left corner at (70 + 5 n, 30 + 6 n) of photo n.
CORNERS = ((0, 0), (8, 0), (8, 12), (16, 12), (16, 18), (0, 18))


def corners(number):
    return tuple((70 + 5 * number + x, 30 + 6 * number + y) for x, y in CORNERS)


def study_of_angles(parameters=None):
    """A study whose concepts are dark angles."""
    spec, shelf = make_study(parameters=parameters, canvases=3)
    concepts = []
    for number in range(4):
        picture = plate(number)
        ys, xs = np.indices(picture.shape)
        picture[shapely.contains_xy(shapely.Polygon(corners(number)), xs + 0.5, ys + 0.5)] = 30
        box = Box(68 + 5 * number, 28 + 6 * number, 20, 22)
        region = ConceptRegion(label="pit", box=box)
        concepts.append(ConceptImage(image=shelf.add(picture, f"angle {number}"), regions=(region,)))
    return replace(spec, concepts=tuple(concepts)), shelf


def render(spec, shelf, count):
    fitted = load_engine("composite").fit(spec, shelf, lambda share, step: None)
    return fitted, list(fitted.render(range(count)))


def reviewed(sample, *corrected, opinion=Opinion.BAD, reasons=(Reason.MASK_OFF,)):
    return ReviewedSample(
        trace=sample.provenance.trace,
        verdict=Verdict(opinion=opinion, reasons=frozenset(reasons)),
        corrected=corrected,
    )


def as_they_are(sample):
    """A correction of every instance: to the outlines that it has."""
    return [CorrectedInstance(instance=n, outline=instance.outlines) for n, instance in enumerate(sample.instances)]


def trace(**fields):
    """The trace of an instance in its photo's own pose, the photo's corner at (10, 20) of the sample."""
    values = {"concept": ConceptChoice(key="aaaa:2", name="photo.png"), "degrees": 0.0, "scale": 1.0, "stretch": 1.0}
    details = {"shape": "as photographed", "placed_at": [10.0, 20.0]} | fields.pop("details", {})
    return InstanceTrace(**{**values, "mirrored": False, **fields, "details": details})


def on(one_trace, *outlines):
    """Samples of one instance each, whose outline was corrected; the corners are pixels of the sample."""
    return [
        ReviewedSample(
            trace=Trace(instances=(one_trace,)),
            verdict=Verdict(opinion=Opinion.BAD, reasons=frozenset({Reason.MASK_OFF})),
            corrected=(CorrectedInstance(instance=0, outline=(Polygon(points),)),),
        )
        for points in outlines
    ]


def square(x, y, side):
    return ((x, y), (x + side, y), (x + side, y + side), (x, y + side))


def test_outline_in_any_pose_is_mapped_back_to_its_photo() -> None:
    """Rotated, mirrored, scaled and stretched instances give back the concept that they were made from."""
    spec, shelf = study_of_angles({"direction_spread": 2.0, "shape_weights": {"bent": 0.0, "between": 0.0}})
    _, samples = render(spec, shelf, 16)
    truth = {concept.image.digest[:12]: shapely.Polygon(corners(n)) for n, concept in enumerate(spec.concepts)}
    poses = set()
    for sample in samples:
        parameters, notes, keys = use_corrections(CompositeParameters(), [reviewed(sample, *as_they_are(sample))])
        assert keys, notes
        for key in keys:
            mapped = shapely.union_all([shapely.Polygon(part) for part in parameters.corrected_outlines[key]])
            true = truth[key.partition(":")[0]]
            assert mapped.intersection(true).area / mapped.union(true).area > 0.8
            assert mapped.centroid.distance(true.centroid) < 0.7
        poses |= {
            (instance_trace.mirrored, round(instance_trace.degrees / 10))
            for instance_trace in sample.provenance.trace.instances
        }
    assert len(poses) > 4


def test_next_version_cuts_the_concept_out_along_the_corrected_outline() -> None:
    """A reviewer corrects one label to the lower half of the angle; all previews of the concept follow."""
    spec, shelf = study_of_angles()
    _, samples = render(spec, shelf, 1)
    [traced, *_] = samples[0].provenance.trace.instances
    number = [concept.image.digest[:12] for concept in spec.concepts].index(traced.concept.key.partition(":")[0])
    foot = [[70.0 + 5 * number + x, 30.0 + 6 * number + y] for x, y in ((0, 12), (16, 12), (16, 18), (0, 18))]
    half = {"corrected_outlines": {traced.concept.key: [foot]}}
    fitted, again = render(replace(spec, parameters=half), shelf, 12)
    of_concept = [
        (instance_trace, instance.outlines)
        for sample in again
        for instance_trace, instance in zip(sample.provenance.trace.instances, sample.instances, strict=True)
        if instance_trace.concept == traced.concept
    ]
    assert of_concept
    for instance_trace, outlines in of_concept:
        assert instance_trace.matte == CORRECTED
        area = sum(outline.area for outline in outlines)
        assert area / instance_trace.scale**2 == pytest.approx(16 * 6, rel=0.25)
    assert not [line for line in fitted.report.warnings if "corrected" in line]
    assert any(f"{CORRECTED} (1)" in line for line in fitted.report.details)


def test_refinement_is_deterministic_and_settles_label_is_off() -> None:
    """The corrected concept is neither cut out in another way nor used less often for the label that was off."""
    judged = on(trace(), square(12, 22, 8), square(12, 22, 8), square(12, 22, 8))
    refined = refine({}, judged)
    assert refined == refine({}, judged)
    [outline] = refined.parameters["corrected_outlines"]["aaaa:2"]
    assert shapely.Polygon(outline).equals(shapely.box(2, 2, 10, 10))
    assert "matte_choices" not in refined.parameters
    assert "concept_weights" not in refined.parameters
    sentence = "Concept photo.png, box 3 is cut out along the outline that was corrected on 3 previews."
    assert [note for note in refined.notes if "photo.png" in note] == [sentence]


def test_corrected_outline_of_a_good_preview_is_used_too() -> None:
    [sample] = on(trace(), square(12, 22, 8))
    refined = refine({}, [replace(sample, verdict=Verdict(opinion=Opinion.GOOD))])
    assert list(refined.parameters["corrected_outlines"]) == ["aaaa:2"]
    assert any("is cut out along the outline that was corrected on 1 preview." in note for note in refined.notes)


def test_of_several_outlines_the_one_most_like_the_others_is_used() -> None:
    judged = on(trace(), square(12, 22, 30), square(12, 22, 8), square(12, 22, 9))
    [outline] = refine({}, judged).parameters["corrected_outlines"]["aaaa:2"]
    assert shapely.Polygon(outline).area == pytest.approx(81)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"details": {"shape": "bent"}}, "in the preview the concept has another shape than in its photo (“bent”)"),
        ({"details": {"shape": "between"}}, "another shape than in its photo (“between”)"),
        ({"details": {"edge": "border: left"}}, "lies at an edge, which cuts it off"),
        ({"details": {"edge": "carrier"}}, "lies at an edge, which cuts it off"),
        ({"details": {"left_out": 0.1}}, "a part of the concept is left out"),
        ({"matte": "drawn"}, "the concept has an outline in the project Concepts, which is used"),
        ({"details": {"placed_at": None}}, "did not store where the concept was placed"),
        ({"details": {"placed_at": ["a", 1]}}, "did not store where the concept was placed"),
    ],
)
def test_outline_that_cannot_be_mapped_back_is_said_with_what_to_do(fields, reason) -> None:
    refined = refine({}, on(trace(**fields), square(12, 22, 8)))
    assert "corrected_outlines" not in refined.parameters
    [note] = [note for note in refined.notes if "corrected" in note]
    assert reason in note
    assert note.startswith("The outline that was corrected on concept photo.png, box 3 is not used: ")
    assert note.endswith("; draw its outline in the project Concepts and build a preview.")


def test_outlines_are_bounded() -> None:
    """A model's outline of thousands of corners, and outlines of more concepts than a spec holds."""
    angles = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    wave = 300 + 40 * np.sin(400 * angles)
    points = tuple(zip(400 + wave * np.cos(angles), 400 + wave * np.sin(angles), strict=True))
    refined = refine({}, on(trace(), points))
    outline = refined.parameters["corrected_outlines"]["aaaa:2"]
    assert len(outline) <= MAX_OUTLINE_PARTS
    assert sum(map(len, outline)) <= MAX_OUTLINE_CORNERS
    full = {f"key{number:04}:0": outline for number in range(MAX_CORRECTED_CONCEPTS)}
    refined = refine({"corrected_outlines": full}, on(trace(), square(12, 22, 8)))
    kept = refined.parameters["corrected_outlines"]
    assert (len(kept), "aaaa:2" in kept, "key0000:0" in kept) == (MAX_CORRECTED_CONCEPTS, True, False)
    assert any("have corrected outlines: 1 outline is forgotten." in note for note in refined.notes)


def test_outline_of_no_area_teaches_nothing() -> None:
    refined = refine({}, on(trace(), ((12, 22), (13, 22), (12, 23))))
    assert "corrected_outlines" not in refined.parameters
    assert any("it covers too few pixels of the photo" in note for note in refined.notes)


def test_outline_drawn_in_concepts_takes_precedence_and_one_of_another_box_is_not_used() -> None:
    spec, _ = study_of_angles()
    drawn = (Polygon(corners(0)),)
    [first, second, *_] = spec.concepts
    first = replace(first, regions=(replace(first.regions[0], outline=drawn),))
    keys = [f"{concept.image.digest[:12]}:0" for concept in (first, second)]
    outlines = {keys[0]: [square(75, 35, 5)], keys[1]: [square(5, 5, 10)]}
    concepts, used, warnings = with_corrected_outlines((first, second), outlines)
    assert concepts == (first, second)
    assert used == frozenset()
    [warning] = warnings
    assert warning.startswith("concept angle 1, box 1: the outline that was corrected on a preview does not lie in")


def test_box_grows_to_its_corrected_outline() -> None:
    spec, _ = study_of_angles()
    [concept, *_] = spec.concepts
    outline = [[[70.0, 30.0], [90.0, 30.0], [90.0, 48.0], [70.0, 48.0]]]
    [corrected], used, _ = with_corrected_outlines((concept,), {f"{concept.image.digest[:12]}:0": outline})
    assert len(used) == 1
    assert corrected.regions[0].box == Box(68, 28, 22, 22)


@pytest.mark.parametrize(
    "outlines",
    [
        {"a:0": [[[0.0, 0.0], [1.0, 1.0]]]},
        {"a:0": [[[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [2.0, 0.0, 0.0]]]},
        {"a:0": [[["0", 0.0], [1.0, 1.0], [2.0, 0.0]]]},
        {"a:0": []},
    ],
)
def test_malformed_outlines_in_parameters_are_refused_with_a_sentence(outlines) -> None:
    with pytest.raises(EngineError, match="corrected_outlines"):
        CompositeParameters.from_json({"corrected_outlines": outlines})
