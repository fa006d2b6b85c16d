"""Options of downloads and pushes: the values of a form, as a handover's row stores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from datagen.errors import InputProblem
from datagen.export.archive import ExportOptions
from datagen.export.balance import Dimension
from datagen.export.image_encoding import ImageEncoding
from datagen.export.image_kinds import ImageKind
from datagen.export.selection import Judged, Selection, Size
from datagen.export.splitting import Apart, shares_of
from datagen.export.tiling import Tiling
from datagen.workflow.generation.sample_table import offered


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadWish:
    """A download of images of one run: which of them, and how they are written.

    Its methods raise InputProblem for values that cannot be used together; ``check`` calls all of them.
    """

    #: number of the run
    run: int
    #: the indices of the images; None: all of the run
    indices: tuple[int, ...] | None = None
    #: the filter of the run's table that the images match; see ``sample_table.TableFilter``; None: there is none
    matching: Mapping[str, str] | None = None
    verdicts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    #: bounds such as “24px” or “0.5%”; "" is none
    min_size: str = ""
    max_size: str = ""
    #: what is balanced: “label”, “size”, “place”
    balance: tuple[str, ...] = ()
    #: share of real photos in percent, 0 to 90
    real_percent: int = 0
    formats: tuple[str, ...] = ("coco",)
    #: percentages such as “80,20”; "" is no split
    split: str = ""
    apart: str = Apart.BOTH.value
    images: str = ImageKind.PNG.value
    #: of JPEG and WebP; None: the usual one
    quality: int | None = None
    #: side of tiles in pixels, and their overlap; None: the images are whole
    tile: int | None = None
    overlap: int = 0

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> DownloadWish:
        """Return the wish that ``to_json`` wrote."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in body.items()
        }
        return DownloadWish(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the wish as JSON values."""
        return asdict(self)

    def selection(self) -> Selection:
        """Return which images are wanted."""
        return Selection(
            runs=(self.run,),
            indices=None if self.indices is None else frozenset(self.indices),
            verdicts=tuple(offered(Judged, word) for word in self.verdicts),
            labels=self.labels,
            min_size=Size.parse(self.min_size) if self.min_size else None,
            max_size=Size.parse(self.max_size) if self.max_size else None,
        )

    def options(self) -> ExportOptions:
        """Return the options of the export."""
        if not self.formats:
            raise InputProblem("Choose one format or more.")
        kind = offered(ImageKind, self.images)
        return ExportOptions(
            formats=self.formats,
            encoding=ImageEncoding(kind, None if kind is ImageKind.PNG else self.quality),
            tiling=None if self.tile is None else Tiling(side=self.tile, overlap=self.overlap),
        )

    def shares(self) -> Mapping[str, float] | None:
        """Return the shares of the splits; None without splits."""
        return shares_of(self.split) if self.split else None

    def dimensions(self) -> tuple[Dimension, ...]:
        """Return the dimensions that are balanced."""
        return tuple(offered(Dimension, word) for word in self.balance)

    def apart_by(self) -> Apart:
        """Return the inputs that two splits may not share."""
        return offered(Apart, self.apart)

    def check(self) -> None:
        """Check that the values can be used together.

        Raises:
            InputProblem: they cannot; the sentence names the value.
        """
        if not 0 <= self.real_percent <= 90:
            raise InputProblem(f"{self.real_percent} % is no share of real photos; give 0 to 90")
        if self.indices is not None and not self.indices:
            raise InputProblem("No image is chosen. Choose one or more, or download the whole run.")
        self.selection()
        self.options()
        self.shares()
        self.dimensions()
        self.apart_by()


@dataclass(frozen=True, slots=True, kw_only=True)
class PushWish:
    """A push of the images of one run into a project of Label Studio."""

    #: number of the run
    run: int
    #: the project; None: a new one of this title
    project_id: int | None
    title: str = ""
    #: whether the labels become annotations in place of predictions
    annotations: bool = False

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> PushWish:
        """Return the wish that ``to_json`` wrote."""
        return PushWish(**body)

    def to_json(self) -> dict[str, Any]:
        """Return the wish as JSON values."""
        return asdict(self)
