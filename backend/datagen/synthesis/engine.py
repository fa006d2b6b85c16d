"""The engine interface: fit a spec once, then render any of its samples by index.

Engines are plug-ins: an entry point in the group ``datagen.engines`` names a subclass of ``Engine``, which is created
with ``EngineSettings``. The interface declares every call that the product makes, with a default where possible.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import CanvasImage, ConceptImage, ImageRef
from datagen.domain.sample import Instance, Provenance
from datagen.domain.source_type import SourceType
from datagen.domain.spec import Json, Spec
from datagen.domain.trace import Trace
from datagen.domain.verdict import Verdict
from datagen.errors import EngineError
from datagen.synthesis.entry_points import installed
from datagen.synthesis.learnable import LearnableDraw
from datagen.synthesis.parameter_models import EngineParameters

#: A picture: [h, w] grey or [h, w, 3] RGB, uint8 or uint16.
Picture = npt.NDArray[Any]
#: Boxes of a label are suggested on new photos once it is drawn in at least this many photos.
FEWEST_PHOTOS = 4
#: A mask: [h, w] uint8; 0 outside, i + 1 inside instance i.
Mask = npt.NDArray[np.uint8]


class Pictures(Protocol):
    """Source of an engine's pixels; the implementation decodes and caches, so that engines need no cache of pixels."""

    def load(self, ref: ImageRef) -> Picture:
        """Return the picture's pixels; the caller must not modify them. Called at least once a sample."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One sample in memory.

    ``image`` has the background's shape and dtype, and differs from it only where ``mask`` > 0.
    """

    image: Picture
    mask: Mask
    instances: tuple[Instance, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """The result of a fit, as lines for people and figures.

    ``findings`` describe the effect on the previews and what the user can do. ``details`` contain the methods and
    numbers behind them. ``warnings`` name the image, the problem and the fallback used. Each step of a fit returns a
    report, and ``+`` merges them.
    """

    findings: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: FitReport) -> FitReport:
        """Return a report with the lines of both, in order; a figure of both has the value of ``other``."""
        return FitReport(
            findings=self.findings + other.findings,
            details=self.details + other.details,
            warnings=self.warnings + other.warnings,
            figures={**self.figures, **other.figures},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedInstance:
    """An instance whose outline a reviewer corrected on a preview."""

    #: the instance's position in the sample's instances, and so in those of its trace
    instance: int
    #: the corrected outline: its parts in pixels of the sample's image
    outline: tuple[Polygon, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedSample:
    """A verdict and the engine's decisions for the sample."""

    trace: Trace
    verdict: Verdict
    #: the instances whose outlines the reviewer corrected
    corrected: tuple[CorrectedInstance, ...] = ()
    #: the measurements of each instance in the picture (``synthesis.crop_features``); empty: of an earlier release
    measured: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """The next spec's parameters and, for people, the changes and their reasons."""

    parameters: dict[str, Json]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestedOutline:
    """The outline that an engine suggests for one box; empty if the engine finds none in it."""

    label: str
    box: Box
    outline: tuple[Polygon, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestedBox:
    """A box that an engine suggests on a photo, and its score from 0 to 1, which is higher for a surer one."""

    label: str
    box: Box
    score: float


class Suggester:
    """Suggests drawings to annotators; this base class suggests none."""

    #: the parameters that the suggestions depend on, as text; if it changes, suggestions are made again
    basis: str = ""

    def outlines(self, concept: ConceptImage) -> tuple[SuggestedOutline, ...]:  # noqa: ARG002 - for overrides
        """Return the suggested outline of each box of a concept photo that has no drawn outline.

        Raises:
            BadPicture: a picture does not decode.
            EngineError: something that the parameters name cannot be used here.
        """
        return ()

    def area(self, photo: ImageRef) -> tuple[Polygon, ...]:  # noqa: ARG002 - for overrides
        """Return the suggested area of a canvas photo without polygons, as polygons in its pixels.

        Raises:
            BadPicture: a picture does not decode.
        """
        return ()

    def boxes(self, photo: ImageRef) -> tuple[SuggestedBox, ...]:  # noqa: ARG002 - for overrides
        """Return the suggested boxes of a concept photo on which nothing is drawn, the surest first.

        Raises:
            BadPicture: a picture does not decode.
        """
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptMatte:
    """The pixels of a concept photo that a fitted engine takes for the concept in one box."""

    label: str
    #: [h, w], true on the concept
    mask: npt.NDArray[np.bool_]
    #: the pixel of the photo at the mask's upper left corner
    left: int
    top: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedArea:
    """Where a fitted engine expects and places the concept on a photo."""

    #: the labels that it applies to
    labels: tuple[str, ...]
    #: [h, w], how much each place of the whole photo is like those of the canvases, 0 to 255; of any resolution
    likelihood: npt.NDArray[np.uint8]
    #: [h, w] of the same resolution, true where instances are placed
    inside: npt.NDArray[np.bool_]


class FittedEngine(ABC):
    """An engine after ``fit``; renders samples of one spec."""

    @property
    @abstractmethod
    def report(self) -> FitReport:
        """The report of the fit, with additions from rendering so far."""

    @abstractmethod
    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        """Yield the samples of these indices, in order; spec, index and kind of machine determine the bytes.

        Raises:
            EngineError: a sample cannot be rendered; the message names the reason.
        """

    def refitted(self, spec: Spec) -> FittedEngine | None:  # noqa: ARG002
        """Return the result of ``Engine.fit`` for another spec, if this fit serves it too, else None (the default).

        Specs often differ only in parameters that the fit does not read. The bytes of the samples do not depend on
        whether the engine was fitted or refitted.

        Raises:
            EngineError: a parameter of the spec is invalid.
        """
        return None

    def mattes(self, concept: ConceptImage) -> tuple[ConceptMatte, ...]:  # noqa: ARG002 - for overrides
        """Return the mattes of a concept photo of the spec, for people to look at; none by default.

        Called after a version's first fit if the engine's ``shows_mattes`` is true.
        """
        return ()

    def areas(self, photo: ImageRef) -> tuple[LearnedArea, ...]:  # noqa: ARG002 - for overrides
        """Return the areas of all labels on a canvas or background of the spec, for people to look at; none by default.

        Labels of the same area share one. Called after a version's first fit if the engine's ``shows_areas`` is true.

        Raises:
            BadPicture: the photo does not decode.
        """
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Settings that the process gives to an engine; they affect no byte of a sample."""

    #: the folder that engines keep files in between processes; an engine created by ``load_engine`` has one of its own
    #: in it, by its name. It may be missing, and be shared by several processes and machines.
    folder: Path = Path(".datagen")
    #: end the process if one call of a driver takes longer; 0: never, as in a notebook
    hang_seconds: float = 0.0
    #: whether ``fit`` may return a fit of the same inputs that another process left in the folder, and leave its own
    shares_fits: bool = False


#: Callback with a fraction from 0 to 1 and a description of the current step.
Progress = Callable[[float, str], None]


class Engine(ABC):
    """Base class of engines. A plug-in package derives from it and registers the entry point."""

    #: the name of the entry point, by which studies choose the engine
    name: ClassVar[str]
    #: changed whenever the same spec and index give different bytes
    version: ClassVar[str]
    #: the kind of worker that renders this engine's shards
    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    #: how its images come about, which the files of samples state
    source_type: ClassVar[SourceType] = SourceType.COMPOSITE
    #: the engine's parameters, structured as in its specs; None: the engine accepts every parameter, under its name
    parameters_model: ClassVar[type[EngineParameters] | None] = None
    #: what verdicts can teach the engine: draws that the traces of its instances contain. An engine with any has a
    #: parameter ``preference`` (``synthesis.preference``), and prefers draws that it finds acceptable.
    learnable: ClassVar[tuple[LearnableDraw, ...]] = ()
    #: whether ``refine`` uses the outlines that reviewers corrected; if so, its notes tell about each of them
    uses_corrections: ClassVar[bool] = False
    #: whether its ``FittedEngine.mattes`` and ``FittedEngine.areas`` return something for people to look at
    shows_mattes: ClassVar[bool] = False
    shows_areas: ClassVar[bool] = False

    def __init__(self, settings: EngineSettings = EngineSettings()) -> None:
        self.settings = settings

    def check(self, parameters: Mapping[str, Json]) -> tuple[str, ...]:
        """Return the problems that prevent rendering with these parameters here, as sentences; empty if there are none.

        Called before work is queued, so it must be cheap. The sentences do not name where parameters are set, which
        the caller adds. By default the parameters alone are checked, by the engine's model.
        """
        if self.parameters_model is None:
            return ()
        try:
            self.parameters_model.from_json(parameters)
        except EngineError as wrong:
            return (sentence(str(wrong)),)
        return ()

    def gpus(self) -> tuple[str, ...]:
        """Return the GPUs of this machine that the engine can use, as CUDA_VISIBLE_DEVICES names them."""
        return ()

    def refine(
        self,
        parameters: Mapping[str, Json],
        reviewed: Sequence[ReviewedSample],  # noqa: ARG002 - for overrides
    ) -> Refinement:
        """Return the changes by verdicts beside the draws that ``learnable`` declares; a pure function.

        By default nothing changes. ``learning.refinement`` adds the ``preference`` learned from all verdicts. The next
        version has another seed, and shows new samples.

        Args:
            parameters: parameters of the judged spec.
            reviewed: reviewed samples of its round; may be empty.

        Raises:
            EngineError: the parameters are not the engine's.
        """
        return Refinement(parameters=dict(parameters), notes=())

    def suggester(
        self,
        parameters: Mapping[str, Json],  # noqa: ARG002 - for overrides
        concepts: Sequence[ConceptImage],  # noqa: ARG002
        canvases: Sequence[CanvasImage],  # noqa: ARG002
        backgrounds: Sequence[ImageRef],  # noqa: ARG002
        pictures: Pictures,  # noqa: ARG002
    ) -> Suggester:
        """Return the source of suggestions for the annotators of a study that is still collecting inputs.

        Outlines and areas are those that the engine would use itself; boxes are what looks like the concepts drawn so
        far. By default there are none.

        Args:
            parameters: the parameters that the study's next version would have by the settings.
            concepts: the concept photos with boxes so far; may be empty.
            canvases: the canvases with polygons so far; may be empty.
            backgrounds: the backgrounds so far; may be empty.
            pictures: the source of pixels.

        Raises:
            EngineError: a parameter is invalid.
        """
        return Suggester()

    @abstractmethod
    def fit(self, spec: Spec, pictures: Pictures, progress: Progress) -> FittedEngine:
        """Fit the engine to the spec's inputs.

        Raises:
            EngineError: the inputs cannot be used for a fit.
            CannotRender: ``check`` finds a problem.
        """


def needs_gpu(name: str) -> bool:
    """Return whether the engine's shards need a worker with a GPU; False for an engine that is not installed."""
    try:
        return engine_class(name).device == "gpu"
    except EngineError:
        return False


def uses_corrections(name: str) -> bool:
    """Return whether the engine uses outlines that reviewers corrected; False for an engine that is not installed."""
    try:
        return engine_class(name).uses_corrections
    except EngineError:
        return False


def shows_mattes(name: str) -> bool:
    """Return whether the engine shows the mattes of its fits; False for an engine that is not installed."""
    try:
        return engine_class(name).shows_mattes
    except EngineError:
        return False


def shows_areas(name: str) -> bool:
    """Return whether the engine shows the areas that its fits learned; False for an engine that is not installed."""
    try:
        return engine_class(name).shows_areas
    except EngineError:
        return False


def gpu_engine_names() -> list[str]:
    """Return the names of installed engines that need a GPU, sorted."""
    return [name for name in engine_names() if needs_gpu(name)]


def installed_gpus() -> tuple[str, ...]:
    """Return the GPUs of this machine that installed engines can use, each once, as CUDA_VISIBLE_DEVICES names them."""
    return tuple(dict.fromkeys(gpu for name in gpu_engine_names() for gpu in load_engine(name).gpus()))


def check_engine(
    name: str, parameters: Mapping[str, Json], settings: EngineSettings = EngineSettings()
) -> tuple[str, ...]:
    """Return the problems that prevent rendering with an engine here, as sentences, or that it is not installed."""
    try:
        return load_engine(name, settings).check(parameters)
    except EngineError as missing:
        return (sentence(str(missing)),)


def load_engine(name: str, settings: EngineSettings = EngineSettings()) -> Engine:
    """Create the engine of that name; its folder is the one of its name in the settings' folder.

    Raises:
        EngineError: no installed package provides it, or the entry point is not an ``Engine``.
    """
    return engine_class(name)(replace(settings, folder=settings.folder / name))


def engine_class(name: str) -> type[Engine]:
    """Load the class of the engine of that name, with all that does not depend on settings.

    Raises:
        EngineError: no installed package provides it, or the entry point is not an ``Engine``.
    """
    engines = _installed()
    if name not in engines:
        raise EngineError(f"no engine named {name!r} is installed; there are: {', '.join(sorted(engines)) or 'none'}")
    engine: object = engines[name].load()
    if not (isinstance(engine, type) and issubclass(engine, Engine)):
        raise EngineError(
            f"the engine {name!r} is not derived from datagen.synthesis.engine.Engine; "
            "install a release of its package for this version, or remove it"
        )
    return engine


def engine_names() -> list[str]:
    """Return the names of all installed engines, sorted."""
    return sorted(_installed())


def _installed() -> dict[str, EntryPoint]:
    return installed("datagen.engines")


def sentence(text: str) -> str:
    """Return a message with an initial capital and a full stop."""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!")) else ".")
