"""The ``composite`` engine: cuts concepts out of their boxes, learns their areas, and places and labels them exactly.

It runs on a CPU and needs no model weights. Fitting reads the concepts and canvases. It also searches the backgrounds
of a concept photo's size for a clean photo of the same part; other backgrounds are read during rendering. The report
lists the findings and the inputs that could not be used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Provenance
from datagen.domain.spec import Json, Spec, sample_seed
from datagen.domain.wording import by_number, counted
from datagen.errors import EngineError
from datagen.synthesis.composite import findings
from datagen.synthesis.composite.appearance.appearance_model import fit_appearance_model
from datagen.synthesis.composite.appearance.pose import learn_pose
from datagen.synthesis.composite.appearance.shape import learn_shapes
from datagen.synthesis.composite.backgrounds import Backgrounds
from datagen.synthesis.composite.compositor import Composer
from datagen.synthesis.composite.extraction.backdrop import Backdrop, fit_backdrop
from datagen.synthesis.composite.extraction.cut_sides import WHOLE
from datagen.synthesis.composite.extraction.exemplars import Exemplar, choose, usable_candidates
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.placement.area_model import ANYWHERE, AreaModel, drawn_area, fit_area
from datagen.synthesis.composite.placement.hard_negatives import Look, count_lookalikes, learn_look
from datagen.synthesis.composite.placement.layout import learn_layout
from datagen.synthesis.composite.placement_attempt import Learned
from datagen.synthesis.composite.refinement import refine
from datagen.synthesis.engine import (
    Engine,
    FitReport,
    FittedEngine,
    Pictures,
    Progress,
    Refinement,
    Rendered,
    ReviewedSample,
)
from datagen.synthesis.parameter_models import EngineParameters

NAME, VERSION = "composite", "1"
#: A concept replaced at least this often, and in more than half of its images, is named in the report.
_MIN_REPLACED = 2
#: Backgrounds whose lookalikes are counted, and how many more a photo with undrawn instances has.
COMPARED_BACKGROUNDS, _MORE_LOOKALIKES = 4, 2
#: Most lookalikes of a background if the tones tell instances from others.
_MAX_USUAL = 1


class CompositeEngine(Engine):
    """Fits models of the concepts and composes samples from them."""

    name = NAME
    version = VERSION
    parameters_model: ClassVar[type[EngineParameters]] = CompositeParameters

    def fit(self, spec: Spec, pictures: Pictures, progress: Progress) -> FittedComposite:
        """Fit mattes, areas and blends to the spec's inputs.

        Raises:
            EngineError: a parameter is invalid, no box can be cut out, or no background can hold a concept.
        """
        parameters = CompositeParameters.from_json(spec.parameters)
        lines = _ReportLines()
        progress(0.0, "learning where the concept may appear")
        areas = _ReportLines()
        models, backdrops = _areas(spec, pictures, areas)
        exemplars = _exemplars(spec, pictures, parameters, backdrops, progress, lines)
        lines.add(areas)
        progress(0.9, "looking through the backgrounds")
        refs = _usable_backgrounds(spec, exemplars, parameters, lines.warnings)
        learned = _learn(spec, exemplars, lines)
        looks = {label: learn_look(label_model.exemplars) for label, label_model in learned.items()}
        backgrounds = Backgrounds(refs, pictures, models, looks, backdrops, parameters.place_strictness)
        # the order of backgrounds is fixed by the spec, so that each is used once before any is used twice
        order = np.random.default_rng(sample_seed(spec.digest, -1)).permutation(len(refs))
        layouts = learn_layout(spec.concepts, exemplars)
        lines.findings += [findings.counts(label, layouts, parameters) for label in learned]
        lines.warnings += _undrawn(spec, pictures, looks, refs) if parameters.counts_as_photographed else []
        names = {concept.image.digest[:12]: concept.image.name for concept in spec.concepts}
        lines.warnings += [
            findings.too_many(names[photo.key], photo.total, parameters.instances_max)
            for photo in layouts.photos
            if parameters.counts_as_photographed and photo.total > parameters.instances_max
        ]
        composer = Composer(
            learned=learned,
            layouts=layouts,
            backgrounds=backgrounds,
            parameters=parameters,
            order=order,
        )
        lines.figures["exemplars"] = float(len(exemplars))
        lines.figures["backgrounds"] = float(len(refs))
        progress(1.0, "fitted")
        return FittedComposite(spec, composer, backgrounds, lines.report())

    def refine(self, parameters: Mapping[str, Json], reviewed: Sequence[ReviewedSample]) -> Refinement:
        """Move what the reviewers complain of: sizes, contrasts, places, directions, edges, mattes and weights."""
        return refine(parameters, reviewed)


class FittedComposite(FittedEngine):
    """A fitted spec; renders any of its samples, in any order, on any machine."""

    def __init__(self, spec: Spec, composer: Composer, backgrounds: Backgrounds, report: FitReport) -> None:
        self._spec = spec
        self._composer = composer
        self._backgrounds = backgrounds
        self._fit = report
        self._rejected: Counter[str] = Counter()
        self._passed_over: dict[str, str] = {}
        self._turns: Counter[str] = Counter()
        self._replaced_counts: Counter[str] = Counter()
        self._rendered = 0

    @property
    def report(self) -> FitReport:
        """The report of the fit, with the counts of placements rejected by rendering so far."""
        counts = tuple(
            f"{counted(count, 'placement')} {by_number(count, 'was', 'were')} tried and dropped: {reason}."
            for reason, count in sorted(self._rejected.items())
        )
        figures = self._fit.figures | {"rendered": float(self._rendered)}
        figures |= {f"rejected: {reason}": float(count) for reason, count in self._rejected.items()}
        passed_over = tuple(
            f"background {name}: {why}; another was used instead. Exclude it, or draw canvases like it."
            for name, why in sorted(self._passed_over.items())
        )
        stood_in = tuple(
            f"{concept}: it could not be placed in {times} of {counted(self._turns[concept], 'image')}, and another "
            "example was used there. Draw canvases on photos like its surroundings, or draw a closer box."
            for concept, times in sorted(self._replaced_counts.items())
            if times >= _MIN_REPLACED and times > self._turns[concept] / 2
        )
        return FitReport(
            findings=self._fit.findings,
            details=self._fit.details + counts,
            warnings=self._fit.warnings + passed_over + stood_in,
            figures=figures,
        )

    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        """Yield the samples of these indices, in order.

        Raises:
            EngineError: an index is negative, or no instance could be placed for a sample.
        """
        for index in indices:
            if index < 0:
                raise EngineError(f"sample {index} does not exist; indices begin at 0")
            seed = sample_seed(self._spec.digest, index)
            composed = self._composer.compose(index, seed)
            self._rejected.update(composed.rejected)
            for number, reason_skipped in composed.passed_over.items():
                self._passed_over[self._backgrounds.ref(number).name] = reason_skipped
            self._turns.update(concept for concept, _ in composed.turns)
            self._replaced_counts.update(concept for concept, replaced in composed.turns if replaced)
            self._rendered += 1
            ref = self._backgrounds.ref(composed.background)
            if not composed.instances:
                raise EngineError(
                    f"no example could be placed on background {ref.name}: "
                    + (
                        ", ".join(f"{reason} ({counted(n, 'time')})" for reason, n in composed.rejected.items())
                        or "no reason kept"
                    )
                    + ". Exclude that background, or widen the area on the canvases."
                )
            yield Rendered(
                image=composed.image,
                mask=composed.mask,
                instances=composed.instances,
                provenance=Provenance(
                    spec_digest=self._spec.digest,
                    index=index,
                    seed=seed,
                    engine=NAME,
                    engine_version=VERSION,
                    background=ref,
                    trace=composed.trace,
                ),
            )


@dataclass(kw_only=True)
class _ReportLines:
    """Builder of a fit's report."""

    findings: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def add(self, other: _ReportLines) -> None:
        """Add the lines of another part of the fit."""
        self.findings += other.findings
        self.details += other.details
        self.warnings += other.warnings
        self.figures |= other.figures

    def report(self) -> FitReport:
        """Return the report of all lines so far."""
        return FitReport(
            findings=tuple(self.findings),
            details=tuple(self.details),
            warnings=tuple(self.warnings),
            figures=self.figures,
        )


def _exemplars(
    spec: Spec,
    pictures: Pictures,
    parameters: CompositeParameters,
    backdrops: Mapping[str, Backdrop | None],
    progress: Progress,
    lines: _ReportLines,
) -> list[Exemplar]:
    usable, warnings = usable_candidates(
        spec, pictures, lambda share, step: progress(0.3 + 0.6 * share, step), backdrops
    )
    lines.warnings += warnings
    of_same_part = sum(candidate.clean.method == "template" for candidate in usable)
    if of_same_part:
        lines.findings.append(findings.of_same_part(of_same_part, len(usable)))
    exemplars, warnings = choose(usable, parameters.matte_choices)
    lines.warnings += warnings
    exemplars = _without_opposite_cuts(exemplars, lines.warnings)
    for label in spec.labels:
        of_label = [e for e in exemplars if e.label == label]
        if not of_label:
            lines.warnings.append(
                f"label {label!r}: no concept image shows it, so it is not synthesized. Draw a box with it."
            )
            continue
        methods = Counter(e.method for e in of_label)
        lines.findings.append(findings.cut_out(label, len(of_label)))
        lines.details.append(findings.cut_out_by(label, methods))
        if at_border := sum(e.cut.any for e in of_label):
            lines.findings.append(findings.at_border(label, at_border, len(of_label)))
        if at_edge := sum(e.edge is not None and not e.cut.any for e in of_label):
            lines.findings.append(findings.at_carrier_edge(label, at_edge, len(of_label)))
        if any(e.method.endswith("to the box") for e in of_label):
            lines.findings.append(findings.soft_edges(label))
        different = len({e.patch.tobytes() for e in of_label})
        if 1 < len(of_label) > different:
            lines.warnings.append(
                f"label {label!r}: {counted(len(of_label), 'example')}, but only {counted(different, 'different one')}"
                "; copies teach nothing new. Draw boxes on other photos."
            )
        if len(of_label) == 1:
            lines.warnings.append(
                f"label {label!r}: one example only; every sample is a variation of it. Draw more boxes."
            )
    return list(exemplars)


def _without_opposite_cuts(exemplars: Sequence[Exemplar], warnings: list[str]) -> tuple[Exemplar, ...]:
    """Return the exemplars that fit at a side or corner of a background.

    Those that opposite borders cut off fit at none. If a label has no others, they are placed anywhere.
    """
    placeable = {e.label for e in exemplars if not e.cut.opposite}
    kept: list[Exemplar] = []
    for exemplar in exemplars:
        if not exemplar.cut.opposite:
            kept.append(exemplar)
            continue
        where = f"{exemplar.in_words}: the {', '.join(exemplar.cut.names)} borders of its photo cut it off"
        if exemplar.label in placeable:
            warnings.append(
                f"{where}, so that it fits nowhere else; it was left out. Draw a box that shows more of it."
            )
        else:
            warnings.append(
                f"{where}, and no other example of {exemplar.label!r} is whole; it is placed anywhere, with straight "
                "edges. Use photos that show all of it."
            )
            kept.append(replace(exemplar, cut=WHOLE))
    return tuple(kept)


def _learn(spec: Spec, exemplars: Sequence[Exemplar], lines: _ReportLines) -> dict[str, Learned]:
    """Fit appearance and pose of every label that has exemplars, and add their findings to the report."""
    learned: dict[str, Learned] = {}
    for label in spec.labels:
        same = [e for e in exemplars if e.label == label]
        if not same:
            continue
        law, prior = fit_appearance_model(same), learn_pose(same)
        shapes = learn_shapes(same, crisp=law.two_level)
        learned[label] = Learned(exemplars=same, shapes=shapes, prior=prior, law=law)
        lines.findings += [
            findings.tones(label, law),
            findings.directions(label, prior),
            findings.shapes(label, shapes),
        ]
        lines.details += findings.shapes_by(label, shapes)
        lines.details += [findings.tones_by(label, law), findings.directions_by(label, prior)]
        lines.figures |= {f"law slope: {label}": law.slope, f"law doubt: {label}": law.doubt}
        lines.figures |= {f"blend error {name}: {label}": score for name, score in law.scores.items()}
    return learned


def _undrawn(
    spec: Spec, pictures: Pictures, looks: Mapping[str, Look | None], backgrounds: Sequence[ImageRef]
) -> list[str]:
    """Return a sentence for every concept photo that seems to show instances that were not drawn.

    It has at least two lookalikes more than any of the first backgrounds, which show no instance. If these have more
    than one lookalike, the tones do not tell instances from others.
    """
    sentences = []
    plain = [pictures.load(ref) for ref in backgrounds[:COMPARED_BACKGROUNDS]] if any(looks.values()) else []
    for label, look in looks.items():
        if look is None:
            continue
        usual = max(count_lookalikes(look, picture) for picture in plain)
        if usual > _MAX_USUAL:
            continue
        for concept in spec.concepts:
            boxes = [region.box for region in concept.regions]
            count = count_lookalikes(look, pictures.load(concept.image), boxes)
            if count >= usual + _MORE_LOOKALIKES:
                sentences.append(findings.undrawn(label, concept.image.name, count))
    return sentences


def _areas(
    spec: Spec, pictures: Pictures, lines: _ReportLines
) -> tuple[dict[str, AreaModel], dict[str, Backdrop | None]]:
    """Fit the area and backdrop models of every label; labels with the same canvas polygons share them."""
    models: dict[str, AreaModel] = {}
    backdrops: dict[str, Backdrop | None] = {}
    fitted: dict[tuple[tuple[int, ...], ...], AreaModel] = {}
    fitted_backdrops: dict[tuple[tuple[int, ...], ...], Backdrop | None] = {}
    canvas_pictures = [pictures.load(canvas.image) for canvas in spec.canvases]
    for label in spec.labels:
        chosen = tuple(
            tuple(n for n, area in enumerate(canvas.areas) if area.label in (None, label)) for canvas in spec.canvases
        )
        if chosen not in fitted:
            drawn, names = [], []
            for canvas, picture, numbers in zip(spec.canvases, canvas_pictures, chosen, strict=True):
                polygons = [canvas.areas[n].polygon for n in numbers]
                mask = drawn_area(polygons, *picture.shape[:2])
                if mask.any():
                    drawn.append((picture, mask))
                    names.append(canvas.image.name)
                else:
                    lines.warnings.append(
                        f"canvas {canvas.image.name}: no polygon for {label!r} covers anything; it was left out."
                    )
            fitted[chosen] = fit_area(drawn) if drawn else ANYWHERE
            model = fitted[chosen]
            fitted_backdrops[chosen], wrong = fit_backdrop(drawn)
            lines.warnings += [
                f"canvas {names[number]}: its polygons leave out what the other canvases' polygons contain, or the "
                "reverse; it was not used to learn what the concept lies on. Check its polygons."
                for number in wrong
            ]
            if not drawn:
                lines.warnings.append(
                    f"label {label!r}: no canvas has a polygon for it; it is placed anywhere. Draw where it may appear."
                )
            elif model.iou is None:
                lines.warnings.append(
                    f"label {label!r}: one canvas only, so the area learned from it could not be checked on another. "
                    "Draw more canvases."
                )
            else:
                lines.findings.append(findings.area(label, model.mode, model.iou))
                lines.details.append(findings.area_by(label, model.mode, model.iou))
        models[label], backdrops[label] = fitted[chosen], fitted_backdrops[chosen]
        iou = fitted[chosen].iou
        if iou is not None:
            lines.figures[f"area IoU: {label}"] = iou
    return models, backdrops


def _usable_backgrounds(
    spec: Spec, exemplars: Sequence[Exemplar], parameters: CompositeParameters, warnings: list[str]
) -> list[ImageRef]:
    """Return the backgrounds that can hold at least the smallest concept of every label."""
    need_w, need_h = 0.0, 0.0
    for label in {e.label for e in exemplars}:
        boxes = [e.box for e in exemplars if e.label == label]
        smallest = min(boxes, key=lambda box: box.area)
        need_w, need_h = max(need_w, smallest.width), max(need_h, smallest.height)
    need_w, need_h = need_w * parameters.size_factor, need_h * parameters.size_factor
    kept: list[ImageRef] = []
    for ref in spec.backgrounds:
        if ref.width > need_w + 8 and ref.height > need_h + 8:
            kept.append(ref)
        else:
            warnings.append(
                f"background {ref.name}: {ref.width} × {ref.height} pixels are too small for the concept "
                f"({need_w:.0f} × {need_h:.0f}); it was left out."
            )
    if not kept:
        raise EngineError(
            f"none of the {counted(len(spec.backgrounds), 'background')} can hold the concept; add backgrounds larger "
            f"than {need_w:.0f} × {need_h:.0f} pixels."
        )
    return kept
