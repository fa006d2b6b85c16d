"""The layout of images, learned from concept photos: counts, distances, labels that go together, sizes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage, ConceptRegion, ImageRef
from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.composite.placement.layout import at_distance, learn_layout


def photo(number, *regions):
    """A concept photo; a region is its label and the centre of a box of 10 × 10 pixels."""
    image = ImageRef(digest=f"{number:064x}"[::-1], width=400, height=300, name=f"photo {number}")
    boxes = [ConceptRegion(label=label, box=Box(x - 5, y - 5, 10, 10)) for label, x, y in regions]
    return ConceptImage(image=image, regions=tuple(boxes))


def exemplar(concept, region, size=5):
    mask = np.zeros((40, 40), bool)
    mask[:size, :size] = True
    tones = np.zeros((40, 40, 1), np.float32)
    return Exemplar(
        key=f"{concept.image.digest[:12]}:{region}",
        name=concept.image.name,
        label=concept.regions[region].label,
        box=concept.regions[region].box,
        frame=Frame(left=0, top=0, right=40, bottom=40),
        patch=tones,
        clean=tones,
        thing=tones,
        mask=mask,
        opacity=np.ones((40, 40), np.float32),
        method="drawn",
        score=1.0,
    )


def exemplars(concepts, sizes=None):
    return [
        exemplar(concept, region, 5 if sizes is None else sizes[number])
        for number, concept in enumerate(concepts)
        for region in range(len(concept.regions))
    ]


def row(number, count, label="spot", gap=20):
    return photo(number, *((label, 20 + gap * n, 50) for n in range(count)))


def draws(model, label="spot", times=400, fewest=1, most=50):
    chance = np.random.default_rng(1)
    return [model.draw(label, (n * 0.618) % 1, chance, fewest, most) for n in range(times)]


def test_photos_of_one_instance_each_give_images_of_one_instance():
    concepts = [row(n, 1) for n in range(6)]
    assert {len(layout.labels) for layout in draws(learn_layout(concepts, exemplars(concepts)))} == {1}


def test_counts_are_spread_like_those_of_the_photos_and_never_beyond_them():
    concepts = [row(n, count) for n, count in enumerate((1, 2, 4, 4, 7, 12))]
    counts = [len(layout.labels) for layout in draws(learn_layout(concepts, exemplars(concepts)))]
    assert (min(counts), max(counts)) == (1, 12)
    assert 3 <= np.median(counts) <= 5
    assert len(set(counts)) >= 10


@pytest.mark.parametrize(("fewest", "most", "counts"), [(3, 50, {3}), (1, 2, {1, 2}), (5, 5, {5})])
def test_parameters_bound_the_count(fewest, most, counts):
    concepts = [row(n, count) for n, count in enumerate((1, 3, 3))]
    drawn_counts = {
        len(layout.labels) for layout in draws(learn_layout(concepts, exemplars(concepts)), fewest=fewest, most=most)
    }
    assert drawn_counts == counts


def test_labels_that_photos_show_together_are_drawn_together():
    concepts = [photo(n, ("spot", 50, 50), ("ring", 90, 90), ("ring", 130, 90)) for n in range(4)]
    concepts += [photo(n, *(("crack", 50 + 30 * k, 50) for k in range(3))) for n in range(4, 8)]
    model = learn_layout(concepts, exemplars(concepts))
    assert {Counter(layout.labels)["ring"] for layout in draws(model, "spot")} == {2}
    assert {layout.labels for layout in draws(model, "crack")} == {("crack",) * 3}


def test_the_label_whose_turn_it_is_is_placed_first():
    concepts = [photo(n, ("spot", 50, 50), ("ring", 90, 90), ("ring", 130, 90)) for n in range(4)]
    assert {layout.labels[0] for layout in draws(learn_layout(concepts, exemplars(concepts)), "spot")} == {"spot"}


def test_boxes_drawn_twice_count_once():
    concepts = [photo(n, ("spot", 50, 50), ("spot", 50, 50), ("spot", 51, 50)) for n in range(3)]
    model = learn_layout(concepts, exemplars(concepts))
    assert [layout.counts for layout in model.photos] == [{"spot": 1}] * 3


def test_a_box_of_another_label_in_the_same_place_counts():
    concepts = [photo(0, ("spot", 50, 50), ("ring", 50, 50))]
    assert learn_layout(concepts, exemplars(concepts)).photos[0].total == 2


def test_a_label_without_exemplars_does_not_count():
    concepts = [photo(0, ("spot", 50, 50), ("ring", 90, 50))]
    assert learn_layout(concepts, exemplars(concepts)[:1]).photos[0].counts == {"spot": 1}


def test_distances_are_those_between_the_boxes_of_one_photo():
    model = learn_layout(concepts := [row(0, 3, gap=20), row(1, 1)], exemplars(concepts))
    assert sorted(model.photos[0].distances) == [20, 20, 40]
    assert len(model.photos[1].distances) == 0


def test_a_photo_of_300_instances_is_measured_by_a_part_of_their_distances():
    concepts = [row(0, 300, gap=11)]
    model = learn_layout(concepts, exemplars([row(0, 2)]))
    assert model.photos[0].total == 300
    assert len(model.photos[0].distances) <= 60 * 59 / 2
    assert {len(layout.labels) for layout in draws(model, times=5)} == {50}


def test_concepts_of_one_size_in_each_photo_are_taken_from_one_photo():
    concepts = [row(n, 3) for n in range(5)]
    assert learn_layout(concepts, exemplars(concepts, sizes=(4, 8, 12, 20, 30))).together["spot"] == 0.8


def test_concepts_whose_sizes_do_not_depend_on_the_photo_are_taken_from_all():
    concepts = [row(n, 1) for n in range(5)]
    assert learn_layout(concepts, exemplars(concepts, sizes=(4, 8, 12, 20, 30))).together["spot"] == 0
    concepts = [row(n, 3) for n in range(5)]
    mixed = [exemplar(concept_key, region, size) for concept_key in concepts for region, size in enumerate((4, 12, 30))]
    assert learn_layout(concepts, mixed).together["spot"] == 0


def test_places_at_a_distance_form_a_ring():
    places = np.arange(40 * 60, dtype=np.uint16)
    near = at_distance(places, (40, 60), (20.5, 30.5), 10.0)
    rows, columns = np.divmod(near, 60)
    distances = np.hypot(rows - 20.0, columns - 30.0)
    assert distances.min() >= 8.5
    assert distances.max() <= 11.5
    assert len(near) > 50


def test_without_a_place_at_that_distance_all_places_are_kept():
    places = np.arange(40 * 60, dtype=np.uint16)
    assert np.array_equal(at_distance(places, (40, 60), (20.0, 30.0), 500.0), places)
