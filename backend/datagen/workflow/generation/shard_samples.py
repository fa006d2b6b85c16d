"""The samples of a shard: rendered, stored, and chosen among candidates if the version's critic rejects some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Sample
from datagen.domain.spec import Spec
from datagen.learning.critic import Critic, critic_draws
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow
from datagen.synthesis.crop_features import crop_features
from datagen.synthesis.engine import FittedEngine, Picture, Rendered, engine_class
from datagen.workflow import sample_mapping
from datagen.workflow.generation.contact_sheet import MAX_CELLS, RUN_CELLS, cell_of
from datagen.workflow.generation.progress import ProgressReporter
from datagen.workflow.generation.sample_files import encode_sample
from datagen.workflow.rejection import Rejections
from datagen.workflow.services import Services

#: Rejected candidates of a run whose images are kept, so that people can look at them.
MOST_KEPT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSamples:
    """The rows of a shard's samples, in the order of their places, and the candidates that were rejected."""

    samples: list[SampleRow]
    #: rows of rejected candidates without a batch, of a run; not more of them than are kept
    rejected: list[SampleRow]
    counts: Rejections
    #: the cells of the first samples on the batch's contact sheet; empty if the shard is not the first of its batch
    cells: list[Picture]


def draw_samples(
    services: Services, shard: ShardRow, batch: BatchRow, spec: Spec, fitted: FittedEngine, reporter: ProgressReporter
) -> ShardSamples:
    """Render the samples of a shard and store their images.

    Raises:
        EngineError: a sample cannot be rendered, or the critic of the spec is damaged.
        LeaseLost: this worker does not own the shard any more.
    """
    return _Drawing(services, shard, batch, spec, fitted, reporter).draw()


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A rejected candidate: its index, and the probability of a good verdict."""

    index: int
    probability: float


class _Drawing:
    def __init__(
        self,
        services: Services,
        shard: ShardRow,
        batch: BatchRow,
        spec: Spec,
        fitted: FittedEngine,
        reporter: ProgressReporter,
    ) -> None:
        self._services, self._shard, self._batch = services, shard, batch
        self._spec, self._fitted, self._reporter = spec, fitted, reporter
        self._critic = Critic.from_json(spec.critic) if spec.critic is not None else None
        self._candidates = batch.reserved // batch.stride
        self._limit = self._critic.reject_below if self._critic is not None and self._candidates > 1 else 0.0
        self._words: dict[str, str] = {}
        if self._limit:
            self._words = {kind.name: kind.words for kind in critic_draws(engine_class(spec.engine).learnable)}
        on_sheet = MAX_CELLS if batch.kind.is_reviewed else RUN_CELLS
        self._shown = range(shard.start, shard.start + (on_sheet if shard.start == batch.first else 0))
        self._cells: dict[int, Picture] = {}
        self._room = MOST_KEPT - Rejections.from_json(batch.rejections).rejected if batch.kind == BatchKind.RUN else 0

    def draw(self) -> ShardSamples:
        size = self._shard.stop - self._shard.start
        self._reporter.rendering(0)
        samples: dict[int, SampleRow] = {}
        kept: list[SampleRow] = []
        rejected: dict[int, list[_Candidate]] = {}
        why: Counter[str] = Counter()
        drawn = 0
        for number in range(self._candidates):
            places = [place for place in range(self._shard.start, self._shard.stop) if place not in samples]
            indices = [place + number * self._batch.stride for place in places]
            for place, rendered in zip(places, self._rendered(indices), strict=True):
                drawn += 1
                measured, probability = self._judged(rendered)
                if probability is not None and probability < self._limit:
                    rejected.setdefault(place, []).append(_Candidate(rendered.provenance.index, probability))
                    why.update([self._against(rendered, measured)])
                    if len(kept) < self._room:
                        kept.append(self._row(rendered, measured, probability))
                else:
                    samples[place] = self._row(rendered, measured, probability)
                    self._show(place, rendered)
                if len(samples) < size:
                    self._reporter.rendering(len(samples))
        exhausted = [place for place in range(self._shard.start, self._shard.stop) if place not in samples]
        best = [max(rejected[place], key=lambda candidate: candidate.probability).index for place in exhausted]
        for place, rendered in zip(exhausted, self._rendered(best), strict=True):
            samples[place] = self._row(rendered, *self._judged(rendered))
            self._show(place, rendered)
        return ShardSamples(
            samples=[samples[place] for place in sorted(samples)],
            rejected=[row for row in kept if row.index not in best],
            counts=Rejections(
                candidates=drawn if self._limit else 0,
                rejected=drawn - size if self._limit else 0,
                exhausted=len(exhausted),
                why=dict(why),
            ),
            cells=[self._cells[place] for place in sorted(self._cells)],
        )

    def _show(self, place: int, rendered: Rendered) -> None:
        """Keep the cell of a sample if it is shown on the contact sheet."""
        if place in self._shown:
            self._cells[place] = cell_of(rendered.image, rendered.instances)

    def _rendered(self, indices: Sequence[int]) -> Iterator[Rendered]:
        return self._fitted.render(indices) if indices else iter(())

    def _judged(self, rendered: Rendered) -> tuple[Sequence[Mapping[str, float]], float | None]:
        """Return the measurements of a sample and the probability that the critic predicts, where they are used."""
        if self._critic is None and self._batch.kind != BatchKind.ROUND:
            return (), None
        measured = crop_features(rendered.image, rendered.mask, [instance.box for instance in rendered.instances])
        if self._critic is None:
            return measured, None
        return measured, self._critic.probability(rendered.provenance.trace, measured)

    def _against(self, rendered: Rendered, measured: Sequence[Mapping[str, float]]) -> str:
        """Return the strongest reason against a sample, in words."""
        assert self._critic is not None
        names = self._critic.reasons_against(rendered.provenance.trace, measured, most=1)
        return self._words.get(names[0], names[0]) if names else "all together"

    def _row(self, rendered: Rendered, measured: Sequence[Mapping[str, float]], probability: float | None) -> SampleRow:
        sample = _store(self._services, rendered)
        index = sample.provenance.index
        is_round = self._batch.kind == BatchKind.ROUND
        return SampleRow(
            key=sample_mapping.key_of(self._batch, self._spec.seed, index),
            batch_id=self._batch.id,
            shard_id=self._shard.id,
            index=index,
            # the measurements teach; those of other batches would only take space
            body=sample_mapping.to_body(sample, measured if is_round else (), probability),
        )


def _store(services: Services, rendered: Rendered) -> Sample:
    height, width = rendered.mask.shape
    name = f"{rendered.provenance.index:07d}.png"
    image, mask = map(services.images.put, encode_sample(rendered))
    return Sample(
        image=ImageRef(digest=image, width=width, height=height, name=name),
        mask=ImageRef(digest=mask, width=width, height=height, name=name),
        instances=rendered.instances,
        provenance=rendered.provenance,
    )
