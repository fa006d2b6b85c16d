"""Layout of an image: how many instances of each label it shows, how far apart, and from which photo they come.

All three are learned from the concept photos. A sample follows one photo. It gets about as many instances as the photo
shows. Their distances are drawn from those between the photo's boxes. A share of the concepts is taken from this photo;
the share is larger if sizes within a photo are more alike than sizes of different photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage
from datagen.synthesis.composite.extraction.exemplars import Exemplar

#: Boxes of one label show the same object if their intersection over union is at least this.
_SAME_THING = 0.8
#: Number of boxes of a photo between which distances are measured; the number of distances grows with its square.
_MEASURED_BOXES = 60
#: Largest standard deviation of the logarithm of a photo's count.
_COUNT_LOG_MAX = 0.5
#: A distance matches if it differs from the wanted one by at most this share, or by at most one pixel of the reduced
#: area.
_DISTANCE_TOLERANCE = 0.15
#: Largest share of the concepts that are taken from the photo that a sample follows.
_MAX_TOGETHER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoLayout:
    """The layout of one concept photo.

    ``key`` is the first 12 digits of the photo's digest. ``counts`` is the number of instances by label. ``distances``
    [n] are the distances in pixels between the centres of every two of its boxes; it is empty for a single box.
    """

    key: str
    counts: Mapping[str, int]
    distances: npt.NDArray[np.float64]

    @property
    def total(self) -> int:
        """The number of instances of all labels."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The layout of one sample: the labels of its instances, in order of placement, and the photo that it follows."""

    labels: tuple[str, ...]
    photo: PhotoLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutModel:
    """Distribution of layouts.

    ``count_log`` is the standard deviation of the logarithm of a photo's count. ``together`` is, by label, the share of
    the concepts that are taken from the photo that a sample follows.
    """

    photos: tuple[PhotoLayout, ...]
    count_log: float
    together: Mapping[str, float]

    def draw(self, label: str, at: float, chance: np.random.Generator, fewest: int, most: int) -> Layout:
        """Draw a layout with at least one instance of ``label``.

        The number of instances is between the smallest and the largest of all photos, and within the given limits.

        Args:
            label: the label of the first instance; at least one photo must show it.
            at: in 0..1, selects the photo; the caller distributes it evenly.
            chance: the sample's generator; as many numbers are drawn from it for one photo as for any other.
            fewest: smallest number of instances.
            most: largest number of instances.
        """
        showing = [photo for photo in self.photos if photo.counts.get(label)]
        photo = showing[min(int(at * len(showing)), len(showing) - 1)]
        factor = float(np.exp(min(max(chance.normal(), -2.0), 2.0) * self.count_log))
        order = np.random.default_rng(chance.integers(2**32))
        totals = [each.total for each in self.photos]
        total = min(max(min(max(round(photo.total * factor), min(totals)), max(totals)), fewest), most)
        shown = [name for name, count in photo.counts.items() for _ in range(count)]
        rounds = [order.permutation(len(shown)) for _ in range(-(-total // len(shown)))]
        labels = [shown[n] for turn in rounds for n in turn][:total]
        if label in labels:
            labels.remove(label)
        return Layout(labels=(label, *labels[: total - 1]), photo=photo)


def learn_layout(concepts: Sequence[ConceptImage], exemplars: Sequence[Exemplar]) -> LayoutModel:
    """Return the layouts of the concept photos. Boxes of a label without exemplars are not counted."""
    labels = {exemplar.label for exemplar in exemplars}
    photos = []
    for concept in concepts:
        boxes = _things([(r.label, r.box) for r in concept.regions if r.label in labels])
        if boxes:
            photos.append(
                PhotoLayout(
                    key=concept.image.digest[:12],
                    counts=dict(Counter(label for label, _ in boxes)),
                    distances=_distances([box for _, box in boxes]),
                )
            )
    totals = [float(np.log(photo.total)) for photo in photos]
    spread = float(np.std(totals, ddof=1)) * len(totals) ** -0.2 if len(totals) > 1 else 0.0
    return LayoutModel(
        photos=tuple(photos),
        count_log=min(spread, _COUNT_LOG_MAX),
        together={label: _likeness_within_photos([e for e in exemplars if e.label == label]) for label in labels},
    )


def at_distance(
    places: npt.NDArray[np.uint16], shape: tuple[int, ...], centre: tuple[float, float], distance: float
) -> npt.NDArray[np.uint16]:
    """Return the places that lie about ``distance`` from ``centre``, or all places if none does.

    Args:
        places: flat indices of the reduced area's pixels.
        shape: height and width of the reduced area.
        centre: row and column in the reduced area.
        distance: the wanted distance, in pixels of the reduced area.
    """
    rows, columns = np.divmod(places.astype(np.float32), np.float32(shape[1]))
    off = np.abs(np.hypot(rows + 0.5 - centre[0], columns + 0.5 - centre[1]) - distance)
    near = places[off <= max(_DISTANCE_TOLERANCE * distance, 1.0)]
    return near if len(near) else places


def _things(boxes: Sequence[tuple[str, Box]]) -> list[tuple[str, Box]]:
    """Return the boxes, each with its label, without those that repeat another box of the same label."""
    if len(boxes) < 2:
        return list(boxes)
    sides = np.array([(box.x, box.y, box.right, box.bottom) for _, box in boxes])
    areas = np.array([box.area for _, box in boxes])
    names = np.array([label for label, _ in boxes])
    kept: list[int] = []
    for number in range(len(boxes)):
        earlier = np.array(kept, int)
        low = np.maximum(sides[earlier, :2], sides[number, :2])
        high = np.minimum(sides[earlier, 2:], sides[number, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        overlap = common / np.maximum(areas[earlier] + areas[number] - common, 1e-9)
        if not ((overlap >= _SAME_THING) & (names[earlier] == names[number])).any():
            kept.append(number)
    return [boxes[n] for n in kept]


def _distances(boxes: Sequence[Box]) -> npt.NDArray[np.float64]:
    step = -(-len(boxes) // _MEASURED_BOXES)
    centres = np.array([(box.x + box.width / 2, box.y + box.height / 2) for box in boxes[::step]])
    first, other = np.triu_indices(len(centres), 1)
    return np.asarray(np.hypot(*(centres[first] - centres[other]).T))


def _likeness_within_photos(exemplars: Sequence[Exemplar]) -> float:
    """Return how alike the sizes of exemplars within a photo are, from 0 to _MAX_TOGETHER.

    This is the intraclass correlation of the logarithms of their sizes (Fisher 1925). Return 0 if there are too few
    photos or exemplars.
    """
    groups: dict[str, list[float]] = {}
    for exemplar in exemplars:
        size = 0.5 * float(np.log(max(int(exemplar.mask.sum()), 1)))
        groups.setdefault(exemplar.key.partition(":")[0], []).append(size)
    count = sum(len(sizes) for sizes in groups.values())
    if len(groups) < 2 or count - len(groups) < 2:
        return 0.0
    mean = sum(sum(sizes) for sizes in groups.values()) / count
    within = sum(float(np.var(sizes)) * len(sizes) for sizes in groups.values()) / (count - len(groups))
    between = sum(len(sizes) * (float(np.mean(sizes)) - mean) ** 2 for sizes in groups.values()) / (len(groups) - 1)
    typical = (count - sum(len(sizes) ** 2 for sizes in groups.values()) / count) / (len(groups) - 1)
    total = between + (typical - 1) * within
    return float(np.clip((between - within) / total, 0.0, _MAX_TOGETHER)) if total > 0 else 0.0
