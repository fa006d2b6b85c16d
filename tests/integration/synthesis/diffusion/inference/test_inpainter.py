"""Painting in batches: each crop depends on its order alone, and memory that runs out halves the batch."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from datagen.errors import DeviceFault, EngineError  # noqa: E402
from datagen.synthesis.diffusion.inference.inpainter import Inpainter, Order  # noqa: E402
from datagen.synthesis.diffusion.parameters import DiffusionParameters  # noqa: E402
from datagen.synthesis.diffusion.weights import pipeline_loading  # noqa: E402

OWN = DiffusionParameters(resolution=32, steps=3, optimizations="none")


@pytest.fixture
def pipeline(tiny, device):
    """The tiny pipeline on the device."""
    pipeline_loading.same_every_time()
    return pipeline_loading.load(tiny, OWN, pipeline_loading.device_of(device), torch.float32)


def order(seed):
    chance = np.random.default_rng(seed)
    mask = np.zeros((32, 32), np.float32)
    mask[8:20, 10:24] = 1
    image = chance.random((32, 32, 3)).astype(np.float32)
    return Order(image=image, mask=mask, prompt="a photo of sks pit", seed=seed + 2**63)


def test_a_crop_is_the_same_alone_and_in_any_company(pipeline):
    painter = Inpainter(pipeline, OWN, 4)
    alone = next(iter(painter.paint([order(3)])))
    first = next(iter(painter.paint([order(n) for n in (3, 4, 5, 6)])))
    last = list(painter.paint([order(n) for n in (9, 8, 7, 3)]))[3]
    second_batch = list(painter.paint([order(n) for n in (4, 5, 6, 7, 8, 3)]))[5]
    assert all(np.array_equal(alone, other) for other in (first, last, second_batch))


def test_candidates_for_one_place_are_painted_as_each_alone(pipeline):
    painter = Inpainter(pipeline, OWN, 4)
    first, other = order(3), order(4)
    again = replace(first, seed=8)
    together = list(painter.paint([first, again, other, replace(other, seed=9)]))
    assert np.array_equal(together[0], next(iter(painter.paint([first]))))
    assert np.array_equal(together[1], next(iter(painter.paint([again]))))
    assert np.array_equal(together[2], next(iter(painter.paint([other]))))


def test_few_orders_are_not_filled_up_to_a_large_batch(pipeline):
    cramped = Cramped(pipeline, 4, RuntimeError("filled up"))
    painter = Inpainter(cramped, OWN, 8)
    assert len(list(painter.paint([order(n) for n in range(3)], 2))) == 3
    assert (cramped.asked, painter.batch) == ([2, 2], 8)


@pytest.mark.parametrize(("steps", "strength"), [(4, 1.0), (20, 0.9999)])
def test_few_steps_begin_with_all_noise_also_where_a_pipeline_prefers_a_hair_less(pipeline, steps, strength):
    """SDXL made three of four steps, and began with noise that still contained the background."""

    def call(strength=0.9999):
        """Has the default strength of SDXL's pipeline."""

    wanted = SimpleNamespace(__call__=call, device=pipeline.device)
    painter = Inpainter(wanted, DiffusionParameters(steps=steps), 1)
    assert painter._strength(painter.usual) == strength


def test_another_seed_paints_another_picture(pipeline):
    painter = Inpainter(pipeline, OWN, 2)
    first, other = order(3), order(3)
    painted = list(painter.paint([first, Order(image=other.image, mask=other.mask, prompt=other.prompt, seed=4)]))
    assert not np.array_equal(*painted)


class Cramped:
    """A pipeline on a device that holds so many rows."""

    def __init__(self, inner, rows, fault):
        self._inner, self._rows, self._fault, self.asked = inner, rows, fault, []

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __call__(
        self, prompt, image, mask_image, height, width, num_inference_steps, strength, guidance_scale, generator,
        output_type, masked_image_latents,
    ):  # fmt: skip
        self.asked.append(len(prompt))
        if len(prompt) > self._rows:
            raise self._fault
        given = {name: value for name, value in locals().items() if name not in ("self",)}
        return self._inner(**given)


def test_out_of_memory_halves_the_batch_and_goes_on(pipeline):
    cramped = Cramped(pipeline, 2, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    painter = Inpainter(cramped, OWN, 8)
    painted = list(painter.paint([order(n) for n in range(3)]))
    assert (len(painted), painter.batch) == (3, 2)
    assert cramped.asked == [8, 4, 2, 2]
    whole = list(Inpainter(pipeline, OWN, 2).paint([order(n) for n in range(3)]))
    assert all(np.array_equal(a, b) for a, b in zip(painted, whole, strict=True))


def test_not_even_one_crop_fits(pipeline):
    painter = Inpainter(Cramped(pipeline, 0, torch.OutOfMemoryError("CUDA out of memory")), OWN, 2)
    with pytest.raises(EngineError, match=r"one crop of 32 pixels does not fit into the device's memory"):
        list(painter.paint([order(1)]))


def test_a_device_that_fails_is_told_from_a_fault_of_ours(pipeline):
    broken = Cramped(pipeline, 0, RuntimeError("CUDA error: unspecified launch failure"))
    with pytest.raises(DeviceFault, match=r"unspecified launch failure"):
        list(Inpainter(broken, OWN, 1).paint([order(1)]))
    with pytest.raises(RuntimeError, match=r"shapes"):
        list(Inpainter(Cramped(pipeline, 0, RuntimeError("shapes do not match")), OWN, 1).paint([order(1)]))


def test_numbers_that_are_none_name_the_dtype(pipeline):
    with torch.no_grad():
        next(pipeline.vae.decoder.parameters()).fill_(float("nan"))
    with pytest.raises(EngineError, match=r"set “diffusion.dtype” to “bfloat16” or “float32”"):
        list(Inpainter(pipeline, OWN, 1).paint([order(1)]))
