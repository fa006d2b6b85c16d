"""The composite engine: the guarantees for every sample, and the errors for unusable inputs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import CanvasArea, ConceptImage, ConceptRegion
from datagen.domain.spec import sample_seed
from datagen.errors import EngineError
from datagen.synthesis.composite.engine import COMPARED_BACKGROUNDS
from datagen.synthesis.composite.parameters import DRAWING_PARAMETERS, NAMES
from datagen.synthesis.engine import load_engine
from synthesis_studies import make_study


def fit(spec, shelf):
    return load_engine("composite").fit(spec, shelf, lambda fraction, step: None)


@pytest.fixture
def study():
    """``make_study`` with few concepts and canvases: the time of a fit grows with the square of their numbers."""
    return partial(make_study, concepts=4, canvases=3)


@pytest.fixture(scope="module")
def fitted_study():
    """A function that gives a study's spec, shelf and fitted engine, made once for all tests.

    For tests of samples: a sample does not depend on those rendered before it.
    """

    @cache
    def make(kind="grey", **parameters):
        spec, shelf = make_study(kind=kind, parameters=parameters, canvases=3)
        return spec, shelf, fit(spec, shelf)

    return make


def same(sample, other):
    return (
        np.array_equal(sample.image, other.image)
        and np.array_equal(sample.mask, other.mask)
        and sample.instances == other.instances
        and sample.provenance == other.provenance
    )


@pytest.mark.parametrize("kind", ["grey", "colour", "deep"])
def test_nothing_changes_outside_the_mask(fitted_study, kind):
    _, shelf, fitted = fitted_study(kind)
    for sample in fitted.render(range(12)):
        background = shelf.load(sample.provenance.background)
        assert sample.image.dtype == background.dtype
        assert sample.image.shape == background.shape
        outside = sample.mask == 0
        assert np.array_equal(sample.image[outside], background[outside])
        assert not np.array_equal(sample.image, background)


def test_the_mattes_of_a_concept_photo_cover_its_discs(fitted_study):
    spec, shelf, fitted = fitted_study()
    for concept in spec.concepts:
        [matte] = fitted.mattes(concept)
        dark = shelf.load(concept.image) < 60
        window = dark[matte.top : matte.top + matte.mask.shape[0], matte.left : matte.left + matte.mask.shape[1]]
        overlap = np.count_nonzero(window & matte.mask) / np.count_nonzero(window | matte.mask)
        assert overlap > 0.8
        assert matte.label == "pit"


def test_the_learned_area_is_the_bright_half_that_the_canvases_show(fitted_study):
    spec, _, fitted = fitted_study()
    for photo in (spec.canvases[0].image, spec.backgrounds[0]):
        [area] = fitted.areas(photo)
        half = area.likelihood.shape[1] // 2
        assert area.likelihood[:, half:].mean() > 2 * area.likelihood[:, :half].mean()
        # strictness 0.5 allows places that are merely possible
        assert area.inside[:, half:].mean() > 0.8 > 0.5 > area.inside[:, :half].mean()
        assert area.labels == ("pit",)


def test_labels_with_the_same_canvases_share_their_learned_area(study):
    spec, shelf = study(labels=("pit", "dent"))
    [area] = fit(spec, shelf).areas(spec.backgrounds[0])
    assert area.labels == ("pit", "dent")


def test_boxes_are_tight_and_outlines_give_the_mask_back(fitted_study, rasterized):
    _, _, fitted = fitted_study(counts_as_photographed=False, instances_max=3)
    for sample in fitted.render(range(12)):
        assert sample.instances
        assert set(np.unique(sample.mask)) == set(range(len(sample.instances) + 1))
        for number, instance in enumerate(sample.instances, start=1):
            mine = sample.mask == number
            ys, xs = np.nonzero(mine)
            assert instance.box == Box(xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
            assert np.array_equal(rasterized(instance.outlines, mine.shape), mine)


def test_same_spec_and_index_give_the_same_bytes_whatever_else_is_rendered(fitted_study):
    spec, shelf, fitted = fitted_study(counts_as_photographed=False, instances_max=3)
    whole = list(fitted.render(range(8)))
    backwards = list(fit(spec, shelf).render([7, 3, 0]))
    assert [same(a, b) for a, b in zip(backwards, (whole[7], whole[3], whole[0]), strict=True)] == [True] * 3
    assert whole[3].provenance.seed == sample_seed(spec.digest, 3)


def test_a_variety_or_seed_changes_every_sample(fitted_study):
    spec, shelf, fitted = fitted_study()
    first = list(fitted.render(range(4)))
    for child in (replace(spec, seed=1), replace(spec, parameters={"variety": 1})):
        others = list(fit(child, shelf).render(range(4)))
        assert not any(np.array_equal(a.image, b.image) for a, b in zip(first, others, strict=True))


#: Other than the default values, of the parameters that only the drawing of samples reads.
DRAWING = {
    "size_spread": 2.0,
    "direction_spread": 2.0,
    "contrast": 1.5,
    "edge_softness": 2.0,
    "context_strictness": 0.2,
    "min_contrast": 1.0,
    "variety": 3,
    "blend_weights": {"hard": 0.0},
    "shape_weights": {"bent": 2.0},
}
#: Other than the default values, of the parameters that the fit reads.
FITTING = {
    "size_factor": 0.9,
    "place_strictness": 0.4,
    "counts_as_photographed": False,
    "instances_min": 2,
    "instances_max": 9,
    "matte_choices": {"x": 1},
    "corrected_outlines": {"x": [[[1.0, 1.0], [2.0, 1.0], [1.0, 2.0]]]},
}


def test_a_version_with_other_draws_needs_no_fit_and_gets_the_same_samples(fitted_study):
    spec, shelf, fitted = fitted_study()
    list(fitted.render(range(2)))  # what it counted is not the other version's
    concept = next(fitted.render([0])).provenance.trace.instances[0].concept.key
    changed = replace(
        spec, seed=spec.seed + 1, critic={"any": 1}, parameters={**DRAWING, "concept_weights": {concept: 0.0}}
    )
    refitted, anew = fitted.refitted(changed), fit(changed, shelf)
    pairs = list(zip(refitted.render(range(8)), anew.render(range(8)), strict=True))
    assert all(same(first, other) for first, other in pairs)
    assert all(sample.provenance.spec_digest == changed.digest for sample, _ in pairs)
    assert refitted.report == anew.report


@pytest.mark.parametrize("name", FITTING)
def test_a_version_with_another_value_that_the_fit_reads_is_fitted(fitted_study, name):
    spec, _, fitted = fitted_study()
    assert fitted.refitted(replace(spec, parameters={name: FITTING[name]})) is None


def test_a_version_with_other_inputs_is_fitted(fitted_study):
    spec, _, fitted = fitted_study()
    for role in ("concepts", "canvases", "backgrounds"):
        assert fitted.refitted(replace(spec, **{role: getattr(spec, role)[:-1]})) is None
    assert fitted.refitted(replace(spec, engine="another")) is None


def test_every_parameter_is_read_by_the_fit_or_by_the_drawing_alone():
    of_models = {"concept_weights", "preference", "segmenter"}
    assert DRAWING.keys() | {"concept_weights", "preference"} == set(DRAWING_PARAMETERS)
    assert DRAWING.keys() | FITTING.keys() | of_models == set(NAMES)


def test_samples_lie_where_the_canvases_say(fitted_study):
    """The polygons cover the bright part of a plate, wherever it begins."""
    _, shelf, fitted = fitted_study()
    assert fitted.report.figures["area IoU: pit"] > 0.9
    shares = []
    for sample in fitted.render(range(20)):
        background = shelf.load(sample.provenance.background)
        shares.append((background[sample.mask > 0] > 125).mean())
    assert np.mean(shares) > 0.95
    assert min(shares) > 0.6


def test_every_background_is_used_before_any_is_used_twice(fitted_study):
    _, _, fitted = fitted_study()
    used = [sample.provenance.background.name for sample in fitted.render(range(6))]
    assert sorted(used) == [f"background {n}" for n in range(6)]


def test_a_background_is_loaded_when_a_sample_needs_it_and_no_more_than_glanced_at_before(study):
    spec, shelf = study()
    fitted = fit(spec, shelf)
    glances = sum(count for name, count in shelf.loads.items() if name.startswith("background"))
    assert glances <= len(spec.backgrounds) + len(spec.concepts) + COMPARED_BACKGROUNDS
    shelf.loads.clear()
    list(fitted.render(range(3)))
    assert len([n for n in shelf.loads if n.startswith("background")]) < 6


def test_the_area_on_a_background_is_predicted_once(fitted_study):
    _, shelf, fitted = fitted_study()
    list(fitted.render(range(6)))
    shelf.loads.clear()
    list(fitted.render(range(6)))
    assert [count for name, count in shelf.loads.items() if name.startswith("background")] == [1] * 6


def test_a_box_held_against_a_clean_photo_of_its_part_is_said(study, plates):
    spec, shelf = study()
    clean = shelf.add(plates(0), "the plate of concept 0 before it was pitted")
    findings = fit(replace(spec, backgrounds=(clean,)), shelf).report.findings
    assert any(
        "by comparison with a background that shows the same part without the concept" in line for line in findings
    )


def test_every_label_is_synthesized_and_labelled_as_itself(study):
    spec, shelf = study(labels=("pit", "hole"))
    seen = {}
    for sample in fit(spec, shelf).render(range(8)):
        for instance in sample.instances:
            seen.setdefault(instance.label, []).append(instance.box.width)
    assert set(seen) == {"pit", "hole"}
    assert np.median(seen["hole"]) > np.median(seen["pit"])


def test_an_area_drawn_for_one_label_does_not_bind_the_other(study):
    spec, shelf = study(labels=("pit", "hole"))
    left_only = tuple(
        replace(
            canvas,
            areas=(
                replace(canvas.areas[0], label="pit"),
                CanvasArea(polygon=Polygon(((0, 0), (30, 0), (30, 96), (0, 96))), label="hole"),
            ),
        )
        for canvas in spec.canvases
    )
    spec = replace(spec, canvases=left_only)
    for sample in fit(spec, shelf).render(range(8)):
        for instance in sample.instances:
            centre = instance.box.x + instance.box.width / 2
            assert (centre < 36) == (instance.label == "hole")


def test_a_drawn_outline_overrides_the_matte(study):
    spec, shelf = study()
    square = Polygon(((78, 30), (88, 30), (88, 40), (78, 40)))
    concept = spec.concepts[1]
    region = replace(concept.regions[0], outline=(square,))
    spec = replace(
        spec, concepts=(replace(concept, regions=(region,)),), parameters={"size_spread": 0, "direction_spread": 0}
    )
    sample = next(iter(fit(spec, shelf).render([0])))
    assert (sample.mask > 0).sum() == 100
    assert sample.provenance.trace.instances[0].matte == "drawn"


def test_instances_do_not_overlap(study):
    spec, shelf = study(parameters={"instances_min": 4, "instances_max": 4})
    for sample in fit(spec, shelf).render(range(6)):
        assert len(sample.instances) >= 2
        assert sum(i.box.area for i in sample.instances) > 0
        parts = [sample.mask == n for n in range(1, len(sample.instances) + 1)]
        assert sum(int(p.sum()) for p in parts) == int((sample.mask > 0).sum())


def photographed(study, disc, plates, numbers, drawn=None):
    """A study whose concept photos show so many discs, of which ``drawn`` have boxes (all if None)."""
    spec, shelf = study(concepts=0)
    concepts = []
    for photo, number in enumerate(numbers):
        picture, regions = plates(300 + photo, split=0.3), []
        for n in range(number):
            x, y = 48 + 17 * (n % 5), 16 + 18 * (n // 5)
            picture, _ = disc(picture, x, y, 5)
            regions.append(ConceptRegion(label="pit", box=Box(x - 7, y - 7, 15, 15)))
        image = shelf.add(picture, f"many {photo}")
        concepts.append(ConceptImage(image=image, regions=tuple(regions[:drawn])))
    return replace(spec, concepts=tuple(concepts)), shelf


def test_images_show_as_many_as_the_concept_photos(study, disc, plates):
    spec, shelf = photographed(study, disc, plates, (1, 2, 4, 8))
    fitted = fit(spec, shelf)
    counts = [len(sample.instances) for sample in fitted.render(range(16))]
    assert (min(counts), max(counts)) == (1, 8)
    assert len(set(counts)) >= 4
    assert any("1 to 8 in an image" in finding for finding in fitted.report.findings)


def test_neighbours_keep_the_distances_of_the_photos(study, disc, plates):
    """The discs of a photo are 17 pixels apart; places drawn at random would be 40 apart on the median."""
    spec, shelf = photographed(study, disc, plates, (2, 2, 2, 2))
    distances = []
    for sample in fit(spec, shelf).render(range(24)):
        first, other = (instance.box for instance in sample.instances)
        distances.append(np.hypot(first.x - other.x, first.y - other.y))
    assert 10 < np.median(distances) < 26


def test_counts_of_photos_drawn_in_part_can_be_set(study, disc, plates):
    spec, shelf = photographed(study, disc, plates, (2, 2), drawn=1)
    spec = replace(spec, parameters={"counts_as_photographed": False, "instances_min": 2, "instances_max": 4})
    counts = {len(sample.instances) for sample in fit(spec, shelf).render(range(12))}
    assert counts == {2, 3, 4}


def test_a_photo_that_seems_drawn_in_part_is_named(study, disc, plates):
    spec, shelf = photographed(study, disc, plates, (4, 1, 1), drawn=1)
    warnings = [line for line in fit(spec, shelf).report.warnings if "look" in line]
    assert len(warnings) == 1
    assert "concept many 0: 3 places outside the boxes look like pit" in warnings[0]


def test_a_photo_with_more_than_an_image_may_have_is_named_and_the_limit_kept(study, disc, plates):
    spec, shelf = photographed(study, disc, plates, (8, 8))
    spec = replace(spec, parameters={"instances_max": 3})
    fitted = fit(spec, shelf)
    assert {len(sample.instances) for sample in fitted.render(range(4))} == {3}
    assert any("many 0: it shows 8 instances, and an image gets at most 3" in line for line in fitted.report.warnings)


def test_of_300_boxes_a_part_is_cut_out_and_said_so(study, disc, plates):
    spec, shelf = photographed(study, disc, plates, (8, 1))
    crowded = replace(spec.concepts[0], regions=spec.concepts[0].regions * 38)
    fitted = fit(replace(spec, concepts=(crowded, spec.concepts[1])), shelf)
    assert fitted.report.figures["exemplars"] == 64
    assert any("of the 305 boxes drawn, 64" in line for line in fitted.report.warnings)
    assert max(len(sample.instances) for sample in fitted.render(range(4))) <= 8


def test_wrong_parameters_are_named(study):
    spec, shelf = study(parameters={"contrast": 9})
    with pytest.raises(EngineError, match="“contrast” is 9; it must be from"):
        fit(spec, shelf)


def test_no_usable_concept_is_an_error_that_says_what_to_draw(study):
    spec, shelf = study(concepts=0)
    with pytest.raises(EngineError, match="draw at least one box"):
        fit(spec, shelf)


def test_no_background_is_an_error(study):
    spec, shelf = study(backgrounds=0)
    with pytest.raises(EngineError, match="none of the 0 backgrounds"):
        fit(spec, shelf)


def test_one_concept_is_said_and_used(study):
    spec, shelf = study(concepts=1)
    fitted = fit(spec, shelf)
    assert any("one example only" in line for line in fitted.report.warnings)
    assert len(list(fitted.render(range(4)))) == 4


def test_concepts_that_are_all_the_same_are_said_and_used(study):
    spec, shelf = study()
    spec = replace(spec, concepts=(spec.concepts[0],) * 6)
    fitted = fit(spec, shelf)
    assert any("6 examples, but only 1 different one" in line for line in fitted.report.warnings)
    assert len(list(fitted.render(range(4)))) == 4


def test_a_background_without_an_area_is_passed_over_by_name(study):
    spec, shelf = study()
    dark = shelf.add(np.full((96, 128), 90, np.uint8), "all dark")
    fitted = fit(replace(spec, backgrounds=(*spec.backgrounds, dark)), shelf)
    used = {sample.provenance.background.name for sample in fitted.render(range(7))}
    assert "all dark" not in used
    assert any("background all dark" in line and "another was used" in line for line in fitted.report.warnings)


def test_a_concept_that_fits_nowhere_is_named_and_others_stand_in(study, plates, disc):
    """The concept was photographed on a dark plate; no place in the area has similar surroundings."""
    spec, shelf = study(concepts=3)
    picture, _ = disc(plates(50), 30, 48, 9)
    region = ConceptRegion(label="pit", box=Box(19, 37, 23, 23))
    concept = ConceptImage(image=shelf.add(picture, "in the dark"), regions=(region,))
    fitted = fit(replace(spec, concepts=(*spec.concepts, concept)), shelf)
    assert len(list(fitted.render(range(24)))) == 24
    [message] = [line for line in fitted.report.warnings if "it could not be placed" in line]
    assert message.startswith("concept in the dark, box 1: ")


def test_backgrounds_of_many_sizes_are_all_used(study, plates):
    spec, shelf = study()
    sizes = [(60, 300), (300, 60), (200, 200), (64, 64)]
    refs = tuple(shelf.add(plates(n, height=h, width=w), f"{h} by {w}") for n, (h, w) in enumerate(sizes))
    fitted = fit(replace(spec, backgrounds=refs), shelf)
    used = {sample.provenance.background.name for sample in fitted.render(range(8))}
    assert len(used) >= 3


def test_a_concept_is_not_copied_into_its_own_place():
    """The concept's own photo among the backgrounds: the sample must not be that photo again."""
    spec, shelf = make_study(parameters={"size_spread": 0, "direction_spread": 0})
    own = replace(spec, backgrounds=(spec.concepts[0].image,), concepts=(spec.concepts[0],))
    box = spec.concepts[0].regions[0].box
    for sample in fit(own, shelf).render(range(10)):
        instance = sample.instances[0].box
        apart = abs(instance.x - box.x) > box.width or abs(instance.y - box.y) > box.height
        assert apart


def test_verdicts_change_what_is_rendered(fitted_study):
    """Larger, stronger, softer: the next version's pixels follow its parameters."""
    spec, shelf, fitted = fitted_study()
    plain = list(fitted.render(range(6)))
    large = list(fit(replace(spec, parameters={"size_factor": 1.5}), shelf).render(range(6)))
    assert np.mean([(s.mask > 0).sum() for s in large]) > 1.7 * np.mean([(s.mask > 0).sum() for s in plain])
    faint = list(fit(replace(spec, parameters={"contrast": 0.5, "min_contrast": 0}), shelf).render(range(6)))

    def contrast(samples):
        return np.mean([s.provenance.trace.instances[0].contrast for s in samples])

    assert contrast(faint) < 0.7 * contrast(plain)
    names = [s.provenance.trace.instances[0].concept.name for s in plain]
    key = plain[0].provenance.trace.instances[0].concept.key
    unwanted = replace(spec, parameters={"concept_weights": {key: 0.0}})
    assert names[0] not in [
        s.provenance.trace.instances[0].concept.name for s in fit(unwanted, shelf).render(range(12))
    ]


def test_a_background_smaller_than_the_concept_is_left_out_by_name(study, plates):
    spec, shelf = study()
    tiny = shelf.add(plates(1, height=12, width=12), "stamp")
    fitted = fit(replace(spec, backgrounds=(*spec.backgrounds, tiny)), shelf)
    assert any("background stamp" in line and "too small" in line for line in fitted.report.warnings)
    assert all(s.provenance.background.name != "stamp" for s in fitted.render(range(10)))


def test_canvases_without_polygons_are_said_and_everywhere_is_used(study):
    spec, shelf = study()
    spec = replace(spec, canvases=tuple(replace(c, areas=()) for c in spec.canvases))
    fitted = fit(spec, shelf)
    assert any("placed anywhere" in line for line in fitted.report.warnings)
    assert len(list(fitted.render(range(3)))) == 3


def test_a_box_over_the_whole_photo_is_said(study):
    spec, shelf = study()
    whole = replace(spec.concepts[0], regions=(ConceptRegion(label="pit", box=Box(0, 0, 128, 96)),))
    fitted = fit(replace(spec, concepts=(whole, *spec.concepts[1:])), shelf)
    assert any("covers the whole photo" in line and "concept 0" in line for line in fitted.report.warnings)
    assert len(list(fitted.render(range(12)))) == 12


def test_a_box_on_flat_colour_is_said(study):
    spec, shelf = study()
    flat = shelf.add(np.full((96, 128), 120, np.uint8), "flat")
    concept = replace(spec.concepts[0], image=flat)
    fitted = fit(replace(spec, concepts=(concept, *spec.concepts[1:])), shelf)
    assert any("concept flat" in line and "nothing in the box stands out" in line for line in fitted.report.warnings)
    assert len(list(fitted.render(range(12)))) == 12


def test_a_label_that_is_not_the_studys_is_said(study):
    spec, shelf = study()
    region = replace(spec.concepts[0].regions[0], label="dirt")
    fitted = fit(replace(spec, concepts=(replace(spec.concepts[0], regions=(region,)), *spec.concepts[1:])), shelf)
    assert any("'dirt'" in line for line in fitted.report.warnings)


def test_colour_concepts_on_grey_backgrounds_and_deep_on_shallow(study):
    colour, shelf = study(kind="colour")
    deep, deep_shelf = study(kind="deep")
    shelf.pictures |= deep_shelf.pictures
    mixed = replace(colour, backgrounds=deep.backgrounds, canvases=deep.canvases)
    for sample in fit(mixed, shelf).render(range(6)):
        assert sample.image.dtype == np.uint16
        assert sample.provenance.trace.instances[0].contrast > 2
