"""The engine contract: fit a spec once, then render any sample of it by its index.

Engines are plug-ins: an entry point in the group ``datagen.engines`` names a subclass of ``Engine`` whose constructor
needs no arguments. Everything that the product asks of an engine is declared here, with a default where possible.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Instance, Provenance
from datagen.domain.spec import Json, Spec
from datagen.errors import EngineError

#: A picture: [h, w] grey or [h, w, 3] RGB, uint8 or uint16.
Picture = npt.NDArray[Any]
#: A mask: [h, w] uint8; 0 outside, i + 1 inside instance i.
Mask = npt.NDArray[np.uint8]


class Pictures(Protocol):
    """Where an engine gets pixels from; decoding is the caller's business, and so is caching."""

    def load(self, ref: ImageRef) -> Picture:
        """The picture's pixels; the caller must not write into them."""
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
    """What an engine found out, as lines for people.

    ``findings`` say what it means for the previews and what a person may do; ``details`` have the methods and numbers
    behind them; ``warnings`` name the image, why, and what was done instead.
    """

    findings: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)


class FittedEngine(ABC):
    """An engine after ``fit``: it renders samples of one spec."""

    @property
    @abstractmethod
    def report(self) -> FitReport:
        """What the fit found, and what rendering added to it so far."""

    @abstractmethod
    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        """The samples of these indices, in order. Same spec, same index: same bytes.

        Raises:
            EngineError: a sample cannot be made; the sentence says why.
        """


#: Called with a fraction from 0 to 1 and what is being done.
Progress = Callable[[float, str], None]


class Engine(ABC):
    """Renders samples. A package of its own derives from this class and registers the entry point."""

    #: the name of the entry point, under which studies choose the engine
    name: ClassVar[str]
    #: changes whenever the same spec and index give other bytes
    version: ClassVar[str]
    #: the kind of worker that renders this engine's shards
    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    #: parameter -> the key of a spec's parameters that it stands under, "" for none; None: the engine takes every
    #: parameter that is given, under the engine's name
    parameter_keys: ClassVar[Mapping[str, str] | None] = None

    def check(self, parameters: Mapping[str, Json]) -> tuple[str, ...]:  # noqa: ARG002 - for those that override it
        """Return what prevents rendering with these parameters on this machine, as sentences; empty if nothing does.

        Called before work is queued, so it may not load anything heavy. It does not say where parameters are set: see
        ``parameter_routing.remedy``.
        """
        return ()

    def ignores(self, parameters: Mapping[str, Json]) -> frozenset[str]:  # noqa: ARG002
        """Return the names of shared parameters that do not change this engine's pixels."""
        return frozenset()

    def gpus(self) -> tuple[str, ...]:
        """Return the GPUs of this machine that the engine can use, as CUDA_VISIBLE_DEVICES names them."""
        return ()

    @abstractmethod
    def fit(self, spec: Spec, pictures: Pictures, progress: Progress) -> FittedEngine:
        """Learn from the spec's inputs.

        Raises:
            EngineError: the inputs cannot be learned from at all.
        """


def needs_gpu(name: str) -> bool:
    """Whether the engine's shards belong on a worker with a GPU; False for an engine that is not installed here."""
    try:
        return load_engine(name).device == "gpu"
    except EngineError:
        return False


def gpu_engine_names() -> list[str]:
    """The installed engines that need a GPU, in order."""
    return [name for name in engine_names() if needs_gpu(name)]


def installed_gpus() -> tuple[str, ...]:
    """The GPUs of this machine that an installed engine can use, each once, as CUDA_VISIBLE_DEVICES names them."""
    return tuple(dict.fromkeys(gpu for name in gpu_engine_names() for gpu in load_engine(name).gpus()))


def check_engine(name: str, parameters: Mapping[str, Json]) -> tuple[str, ...]:
    """What prevents rendering with an engine on this machine, as sentences; an engine that is not installed does."""
    try:
        return load_engine(name).check(parameters)
    except EngineError as missing:
        return (sentence(str(missing)),)


def load_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        EngineError: no installed package offers it, or what is offered is not an engine.
    """
    found = _installed()
    if name not in found:
        raise EngineError(f"no engine named {name!r} is installed; there are: {', '.join(sorted(found)) or 'none'}")
    engine: object = found[name].load()()
    if not isinstance(engine, Engine):
        raise EngineError(
            f"the engine {name!r} is not derived from datagen.synthesis.engine.Engine; "
            "install a release of its package for this version, or remove it"
        )
    return engine


def engine_names() -> list[str]:
    """The engines that are installed here, in order."""
    return sorted(_installed())


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="datagen.engines")}


def sentence(text: str) -> str:
    """A message as a sentence beside others: with a capital and a full stop."""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!")) else ".")
