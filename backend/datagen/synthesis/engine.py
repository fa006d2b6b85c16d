"""The protocol of an engine: fit a spec once, then render any sample of it by its index.

Engines are plug-ins: an entry point in the group ``datagen.engines`` names a class without required arguments.
This room runs in a notebook: numpy in, numpy out; no server, queue or database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

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


class FittedEngine(Protocol):
    """An engine that has seen a spec's inputs."""

    @property
    def report(self) -> FitReport:
        """What the fit found."""
        ...

    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        """The samples of these indices, in order. Same spec, same index: same bytes.

        Raises:
            EngineError: a sample cannot be made; the sentence says why.
        """
        ...


#: Called with a fraction from 0 to 1 and what is being done.
Progress = Callable[[float, str], None]


class Engine(Protocol):
    """What renders samples."""

    name: str
    version: str

    def fit(self, spec: Spec, pictures: Pictures, progress: Progress) -> FittedEngine:
        """Learn from the spec's inputs.

        Raises:
            EngineError: the inputs cannot be learned from at all.
        """
        ...


def needs_gpu(name: str) -> bool:
    """Whether the engine's work belongs on a worker with a GPU: it then says ``needs = "gpu"``.

    An engine that is not installed here needs nothing here: who renders with it says so.
    """
    try:
        return getattr(load_engine(name), "needs", "cpu") == "gpu"
    except EngineError:
        return False


def check_engine(name: str, parameters: Mapping[str, Json]) -> tuple[str, ...]:
    """What stands in the way of rendering with these parameters on this machine, in sentences; empty: nothing.

    Asked before work is queued. An engine answers it with a method ``check(parameters)``, if it has one; that may not
    load anything heavy. How people go on is not the engine's to say: see ``given.remedy``.
    """
    try:
        check = getattr(load_engine(name), "check", None)
    except EngineError as missing:
        return (sentence(str(missing)),)
    return tuple(check(parameters)) if check is not None else ()


def ignored_by(name: str, parameters: Mapping[str, Json]) -> frozenset[str]:
    """The shared parameters that the engine's pixels do not follow; it says so with ``ignores(parameters)``."""
    ignores = getattr(load_engine(name), "ignores", None)
    return frozenset(ignores(parameters)) if ignores is not None else frozenset()


def gpus_of(name: str) -> tuple[str, ...]:
    """The GPUs of this machine that the engine can use, as CUDA_VISIBLE_DEVICES names them; empty for none."""
    find = getattr(load_engine(name), "gpus", None)
    return tuple(find()) if find is not None else ()


def load_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        EngineError: no installed package offers it.
    """
    found = _installed()
    if name not in found:
        raise EngineError(f"no engine named {name!r} is installed; there are: {', '.join(sorted(found)) or 'none'}")
    engine: Engine = found[name].load()()
    return engine


def engine_names() -> list[str]:
    """The engines that are installed here, in order."""
    return sorted(_installed())


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="datagen.engines")}


def sentence(text: str) -> str:
    """A message as a sentence beside others: with a capital and a full stop."""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!")) else ".")
