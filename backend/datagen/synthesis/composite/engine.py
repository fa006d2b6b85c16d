"""The ``composite`` engine: cuts concepts out of their boxes, learns their areas, and places and labels them exactly.

It runs on a CPU and needs no model weights. Fitting reads the concepts and canvases. It also searches the backgrounds
of a concept photo's size for a clean photo of the same part; other backgrounds are read during rendering. The report
lists the findings and the inputs that could not be used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from datagen.domain.inputs import CanvasImage, ConceptImage, ImageRef
from datagen.domain.sample import Provenance
from datagen.domain.source_type import SourceType
from datagen.domain.spec import Json, Spec, sample_seed
from datagen.domain.wording import by_number, counted
from datagen.errors import EngineError
from datagen.synthesis.composite import findings
from datagen.synthesis.composite.appearance.appearance_model import fit_appearance_model
from datagen.synthesis.composite.appearance.pose import learn_pose
from datagen.synthesis.composite.appearance.shape import learn_shapes
from datagen.synthesis.composite.backgrounds import AreaModels, Backgrounds
from datagen.synthesis.composite.compositor import Composer
from datagen.synthesis.composite.draws import LEARNABLE
from datagen.synthesis.composite.extraction.backdrop import Backdrop, fit_backdrop
from datagen.synthesis.composite.extraction.corrected_outlines import CORRECTED, with_corrected_outlines
from datagen.synthesis.composite.extraction.cut_sides import WHOLE
from datagen.synthesis.composite.extraction.exemplars import Exemplar, choose, exemplar_key, usable_candidates
from datagen.synthesis.composite.fit_store import FitStore
from datagen.synthesis.composite.instance_plan import Learned, LearnedByLabel
from datagen.synthesis.composite.parameters import DRAWING_PARAMETERS, CompositeParameters
from datagen.synthesis.composite.placement.area_model import ANYWHERE, AreaModel, drawn_area, fit_area
from datagen.synthesis.composite.placement.hard_negatives import Look, count_lookalikes, learn_look
from datagen.synthesis.composite.placement.layout import LayoutModel, learn_layout
from datagen.synthesis.composite.refinement.refine import refine
from datagen.synthesis.composite.suggestions import CompositeSuggester
from datagen.synthesis.engine import (
    ConceptMatte,
    Engine,
    FitReport,
    FittedEngine,
    LearnedArea,
    Picture,
    Pictures,
    Progress,
    Refinement,
    Rendered,
    ReviewedSample,
    sentence,
)
from datagen.synthesis.intensity import Bools
from datagen.synthesis.parameter_models import EngineParameters
from datagen.synthesis.segmentation.loading import load_segmenter, problems
from datagen.synthesis.segmentation.segmenter import Segmenter

NAME, VERSION = "composite", "3"
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
    source_type = SourceType.COMPOSITE_CAPTURE
    parameters_model: ClassVar[type[EngineParameters]] = CompositeParameters
    learnable = LEARNABLE
    uses_corrections: ClassVar[bool] = True
    shows_mattes: ClassVar[bool] = True
    shows_areas: ClassVar[bool] = True

    def check(self, parameters: Mapping[str, Json]) -> tuple[str, ...]:
        """Return the problems with the parameters and with the segmentation model that they name."""
        try:
            own = CompositeParameters.from_json(parameters)
        except EngineError as wrong:
            return (sentence(str(wrong)),)
        return problems(own.segmenter)

    def fit(self, spec: Spec, pictures: Pictures, progress: Progress) -> FittedComposite:
        """Fit mattes, areas and blends to the spec's inputs.

        Raises:
            CannotRender: the segmentation model that the parameters name cannot be used here.
            DeviceFault: the segmentation model's device failed.
            EngineError: a parameter is invalid, no box can be cut out, or no background can hold a concept.
        """
        learns = _fit_of(spec)
        # a segmentation model is named by a folder or a hub's id, whose weights may change
        is_shared = self.settings.shares_fits and not learns.parameters["segmenter"]
        store = FitStore(self.settings.folder / "fits") if is_shared else None
        learned: LearnedModels | None = store.load(learns.digest) if store is not None else None
        if learned is None:
            learned = fit_models(spec, pictures, progress)
            if store is not None:
                store.save(learns.digest, learned)
        return FittedComposite(spec, learned, Backgrounds(learned.area_models, pictures))

    def refine(self, parameters: Mapping[str, Json], reviewed: Sequence[ReviewedSample]) -> Refinement:
        """Choose other mattes for concepts whose labels are off; ``learnable`` has the rest."""
        return refine(parameters, reviewed)

    def suggester(
        self,
        parameters: Mapping[str, Json],
        concepts: Sequence[ConceptImage],
        canvases: Sequence[CanvasImage],
        backgrounds: Sequence[ImageRef],
        pictures: Pictures,
    ) -> CompositeSuggester:
        """Return the source of suggestions: cut-outs of boxes, areas, and boxes on new photos."""
        return CompositeSuggester(CompositeParameters.from_json(parameters), concepts, canvases, backgrounds, pictures)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedModels:
    """The models of a spec's inputs. They serve every spec that differs only in parameters that no fit reads."""

    learned: LearnedByLabel
    layouts: LayoutModel
    area_models: AreaModels
    report: FitReport

    def composer(self, spec: Spec, backgrounds: Backgrounds) -> Composer:
        """Return the composer of a spec's samples on backgrounds with these area models.

        Raises:
            EngineError: a parameter is invalid.
        """
        return Composer(
            learned=self.learned,
            layouts=self.layouts,
            backgrounds=backgrounds,
            parameters=CompositeParameters.from_json(spec.parameters),
            # the order of backgrounds is fixed by the spec, so that each is used once before any is used twice
            order=np.random.default_rng(sample_seed(spec.digest, -1)).permutation(len(backgrounds)),
            seed=spec.seed,
        )


def fit_models(spec: Spec, pictures: Pictures, progress: Progress) -> LearnedModels:
    """Fit mattes, areas and blends to a spec's inputs.

    Raises:
        CannotRender: the segmentation model that the parameters name cannot be used here.
        DeviceFault: the segmentation model's device failed.
        EngineError: a parameter is invalid, no box can be cut out, or no background can hold a concept.
    """
    parameters = CompositeParameters.from_json(spec.parameters)
    segmenter = load_segmenter(parameters.segmenter)
    progress(0.0, "learning where the concept may appear")
    models, backdrops, area_report = _areas(spec, pictures)
    exemplars, exemplar_report = _exemplars(spec, pictures, parameters, backdrops, segmenter, progress)
    progress(0.9, "looking through the backgrounds")
    refs, background_report = _usable_backgrounds(spec, exemplars, parameters)
    learned, model_report = _learn(spec, exemplars)
    looks = {label: learn_look(label_model.exemplars) for label, label_model in learned.items()}
    area_models = AreaModels(
        refs=tuple(refs), models=models, looks=looks, backdrops=backdrops, strictness=parameters.place_strictness
    )
    layouts = learn_layout(spec.concepts, exemplars)
    count_report = _report_of_counts(spec, learned, layouts, parameters)
    if parameters.counts_as_photographed:
        count_report = _undrawn(spec, pictures, looks, refs) + count_report
    progress(1.0, "fitted")
    report = exemplar_report + area_report + background_report + model_report + count_report
    return LearnedModels(learned=learned, layouts=layouts, area_models=area_models, report=report)


class FittedComposite(FittedEngine):
    """A fitted spec; renders any of its samples, in any order, on any machine."""

    def __init__(self, spec: Spec, models: LearnedModels, backgrounds: Backgrounds) -> None:
        self._spec = spec
        self._models = models
        self._composer = models.composer(spec, backgrounds)
        self._backgrounds = backgrounds
        self._fit = models.report
        self._rejected: Counter[str] = Counter()
        self._passed_over: dict[str, str] = {}
        self._turns: Counter[str] = Counter()
        self._replaced_counts: Counter[str] = Counter()
        self._rendered = 0

    def refitted(self, spec: Spec) -> FittedComposite | None:
        """Return the spec's engine with the same models, if a fit of the spec would learn the same; else None."""
        return FittedComposite(spec, self._models, self._backgrounds) if _fit_of(spec) == _fit_of(self._spec) else None

    def mattes(self, concept: ConceptImage) -> tuple[ConceptMatte, ...]:
        """Return the mattes of the boxes of a concept photo that instances are made from."""
        keys = {exemplar_key(concept, number) for number in range(len(concept.regions))}
        return tuple(
            ConceptMatte(label=label, mask=exemplar.mask, left=exemplar.frame.left, top=exemplar.frame.top)
            for label, learned in self._models.learned.items()
            for exemplar in learned.exemplars
            if exemplar.key in keys
        )

    def areas(self, photo: ImageRef) -> tuple[LearnedArea, ...]:
        """Return the areas that the models of the labels predict on a photo."""
        return self._backgrounds.learned_areas(photo)

    @property
    def report(self) -> FitReport:
        """The report of the fit, with the counts of placements rejected by rendering so far."""
        counts = tuple(
            f"{counted(count, 'placement')} {by_number(count, 'was', 'were')} tried and dropped: {reason}."
            for reason, count in sorted(self._rejected.items())
        )
        figures = {f"rejected: {reason}": float(count) for reason, count in self._rejected.items()}
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
        return self._fit + FitReport(
            details=counts,
            warnings=passed_over + stood_in,
            figures={"rendered": float(self._rendered), **figures},
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


def _fit_of(spec: Spec) -> Spec:
    """Return the part of a spec that its fit reads: no seed, no critic, and no parameters that only drawing reads."""
    parameters = CompositeParameters.from_json(spec.parameters).model_dump(mode="json", exclude=set(DRAWING_PARAMETERS))
    return replace(spec, parameters=parameters, seed=0, critic=None)


def _exemplars(
    spec: Spec,
    pictures: Pictures,
    parameters: CompositeParameters,
    backdrops: Mapping[str, Backdrop | None],
    segmenter: Segmenter | None,
    progress: Progress,
) -> tuple[tuple[Exemplar, ...], FitReport]:
    """Cut out the concepts of all boxes; the report names the methods, and the boxes that cannot be used."""
    concepts, corrected, outline_warnings = with_corrected_outlines(spec.concepts, parameters.corrected_outlines)
    usable, box_warnings = usable_candidates(
        replace(spec, concepts=concepts),
        pictures,
        lambda share, step: progress(0.3 + 0.6 * share, step),
        backdrops,
        segmenter,
    )
    chosen, matte_warnings = choose(usable, parameters.matte_choices)
    chosen = tuple(replace(e, method=CORRECTED) if e.key in corrected and e.method == "drawn" else e for e in chosen)
    exemplars, cut_report = _without_opposite_cuts(chosen)
    report = FitReport(
        warnings=outline_warnings + box_warnings + matte_warnings, figures={"exemplars": float(len(exemplars))}
    )
    report += cut_report
    if segmenter is not None:
        report += FitReport(details=(findings.segmented_by(segmenter.description),))
    of_same_part = sum(candidate.clean.method == "template" for candidate in usable)
    if of_same_part:
        report += FitReport(findings=(findings.of_same_part(of_same_part, len(usable)),))
    for label in spec.labels:
        report += _report_of_label(label, [e for e in exemplars if e.label == label])
    return exemplars, report


def _report_of_label(label: str, exemplars: Sequence[Exemplar]) -> FitReport:
    """Return the report of a label's exemplars: the number, the methods, and what their number cannot show."""
    if not exemplars:
        return FitReport(
            warnings=(f"label {label!r}: no concept image shows it, so it is not synthesized. Draw a box with it.",)
        )
    report = FitReport(
        findings=(findings.cut_out(label, len(exemplars)),),
        details=(findings.cut_out_by(label, Counter(e.method for e in exemplars)),),
    )
    if at_border := sum(e.cut.any for e in exemplars):
        report += FitReport(findings=(findings.at_border(label, at_border, len(exemplars)),))
    if at_edge := sum(e.edge is not None and not e.cut.any for e in exemplars):
        report += FitReport(findings=(findings.at_carrier_edge(label, at_edge, len(exemplars)),))
    if any(e.method.endswith("to the box") for e in exemplars):
        report += FitReport(findings=(findings.soft_edges(label),))
    different = len({e.patch.tobytes() for e in exemplars})
    if 1 < len(exemplars) > different:
        warning = (
            f"label {label!r}: {counted(len(exemplars), 'example')}, but only {counted(different, 'different one')}"
            "; copies teach nothing new. Draw boxes on other photos."
        )
        report += FitReport(warnings=(warning,))
    if len(exemplars) == 1:
        warning = f"label {label!r}: one example only; every sample is a variation of it. Draw more boxes."
        report += FitReport(warnings=(warning,))
    return report


def _without_opposite_cuts(exemplars: Sequence[Exemplar]) -> tuple[tuple[Exemplar, ...], FitReport]:
    """Return the exemplars that fit at a side or corner of a background.

    Those that opposite borders cut off fit at none. If a label has no others, they are placed anywhere.
    """
    placeable = {e.label for e in exemplars if not e.cut.opposite}
    kept: list[Exemplar] = []
    warnings: list[str] = []
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
    return tuple(kept), FitReport(warnings=tuple(warnings))


def _learn(spec: Spec, exemplars: Sequence[Exemplar]) -> tuple[dict[str, Learned], FitReport]:
    """Fit appearance and pose of every label that has exemplars."""
    learned: dict[str, Learned] = {}
    report = FitReport()
    for label in spec.labels:
        same = [e for e in exemplars if e.label == label]
        if not same:
            continue
        law, prior = fit_appearance_model(same), learn_pose(same)
        shapes = learn_shapes(same)
        learned[label] = Learned(exemplars=same, shapes=shapes, prior=prior, law=law)
        report += FitReport(
            findings=(
                findings.tones(label, law),
                findings.directions(label, prior),
                findings.shapes(label, shapes),
            ),
            details=(
                *findings.shapes_by(label, shapes),
                findings.tones_by(label, law),
                findings.directions_by(label, prior),
            ),
            figures={
                f"law slope: {label}": law.slope,
                f"law doubt: {label}": law.doubt,
                **{f"blend error {name}: {label}": score for name, score in law.scores.items()},
            },
        )
    return learned, report


def _report_of_counts(
    spec: Spec, learned: Mapping[str, Learned], layouts: LayoutModel, parameters: CompositeParameters
) -> FitReport:
    """Return how many instances an image gets, and a warning for every photo that shows more than are placed."""
    names = {concept.image.digest[:12]: concept.image.name for concept in spec.concepts}
    return FitReport(
        findings=tuple(findings.counts(label, layouts, parameters) for label in learned),
        warnings=tuple(
            findings.too_many(names[photo.key], photo.total, parameters.instances_max)
            for photo in layouts.photos
            if parameters.counts_as_photographed and photo.total > parameters.instances_max
        ),
    )


def _undrawn(
    spec: Spec, pictures: Pictures, looks: Mapping[str, Look | None], backgrounds: Sequence[ImageRef]
) -> FitReport:
    """Return a warning for every concept photo that seems to show instances that were not drawn.

    It has at least two lookalikes more than any of the first backgrounds, which show no instance. If these have more
    than one lookalike, the tones do not tell instances from others.
    """
    warnings: list[str] = []
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
                warnings.append(findings.undrawn(label, concept.image.name, count))
    return FitReport(warnings=tuple(warnings))


def _areas(spec: Spec, pictures: Pictures) -> tuple[dict[str, AreaModel], dict[str, Backdrop | None], FitReport]:
    """Fit the area and backdrop models of every label.

    Labels with the same canvas polygons share them, and they are reported once.
    """
    models: dict[str, AreaModel] = {}
    backdrops: dict[str, Backdrop | None] = {}
    report = FitReport()
    fitted: dict[tuple[tuple[int, ...], ...], tuple[AreaModel, Backdrop | None]] = {}
    canvas_pictures = [pictures.load(canvas.image) for canvas in spec.canvases]
    for label in spec.labels:
        chosen = tuple(
            tuple(n for n, area in enumerate(canvas.areas) if area.label in (None, label)) for canvas in spec.canvases
        )
        if chosen not in fitted:
            model, backdrop, model_report = _area(label, spec, canvas_pictures, chosen)
            fitted[chosen] = model, backdrop
            report += model_report
        models[label], backdrops[label] = fitted[chosen]
        iou = models[label].iou
        if iou is not None:
            report += FitReport(figures={f"area IoU: {label}": iou})
    return models, backdrops, report


def _area(
    label: str, spec: Spec, canvas_pictures: Sequence[Picture], chosen: Sequence[Sequence[int]]
) -> tuple[AreaModel, Backdrop | None, FitReport]:
    """Fit the area and backdrop models of a label.

    Args:
        label: The label, for the report.
        spec: The spec with the canvases.
        canvas_pictures: The pixels of each canvas.
        chosen: For each canvas, the indices of the polygons that apply to the label.
    """
    drawn: list[tuple[Picture, Bools]] = []
    names: list[str] = []
    empty: list[str] = []
    for canvas, picture, numbers in zip(spec.canvases, canvas_pictures, chosen, strict=True):
        mask = drawn_area([canvas.areas[n].polygon for n in numbers], *picture.shape[:2])
        if mask.any():
            drawn.append((picture, mask))
            names.append(canvas.image.name)
        else:
            empty.append(f"canvas {canvas.image.name}: no polygon for {label!r} covers anything; it was left out.")
    backdrop, wrong = fit_backdrop(drawn)
    contradictory = [
        f"canvas {names[number]}: its polygons leave out what the other canvases' polygons contain, or the "
        "reverse; it was not used to learn what the concept lies on. Check its polygons."
        for number in wrong
    ]
    report = FitReport(warnings=(*empty, *contradictory))
    if not drawn:
        warning = f"label {label!r}: no canvas has a polygon for it; it is placed anywhere. Draw where it may appear."
        return ANYWHERE, backdrop, report + FitReport(warnings=(warning,))
    model = fit_area(drawn)
    if model.iou is None:
        warning = (
            f"label {label!r}: one canvas only, so the area learned from it could not be checked on another. "
            "Draw more canvases."
        )
        return model, backdrop, report + FitReport(warnings=(warning,))
    return (
        model,
        backdrop,
        report
        + FitReport(
            findings=(findings.area(label, model.mode, model.iou),),
            details=(findings.area_by(label, model.mode, model.iou),),
        ),
    )


def _usable_backgrounds(
    spec: Spec, exemplars: Sequence[Exemplar], parameters: CompositeParameters
) -> tuple[tuple[ImageRef, ...], FitReport]:
    """Return the backgrounds that can hold at least the smallest concept of every label.

    Raises:
        EngineError: no background can.
    """
    need_w, need_h = 0.0, 0.0
    for label in {e.label for e in exemplars}:
        boxes = [e.box for e in exemplars if e.label == label]
        smallest = min(boxes, key=lambda box: box.area)
        need_w, need_h = max(need_w, smallest.width), max(need_h, smallest.height)
    need_w, need_h = need_w * parameters.size_factor, need_h * parameters.size_factor
    usable: list[ImageRef] = []
    warnings: list[str] = []
    for ref in spec.backgrounds:
        if ref.width > need_w + 8 and ref.height > need_h + 8:
            usable.append(ref)
        else:
            warnings.append(
                f"background {ref.name}: {ref.width} × {ref.height} pixels are too small for the concept "
                f"({need_w:.0f} × {need_h:.0f}); it was left out."
            )
    if not usable:
        raise EngineError(
            f"none of the {counted(len(spec.backgrounds), 'background')} can hold the concept; add backgrounds larger "
            f"than {need_w:.0f} × {need_h:.0f} pixels."
        )
    return tuple(usable), FitReport(warnings=tuple(warnings), figures={"backgrounds": float(len(usable))})
