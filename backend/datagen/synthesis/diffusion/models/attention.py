"""How much each place of a crop attends to the taught word: read off a UNet's cross-attention. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as functional


class AttentionMaps:
    """The maps of one forward pass: for each layer [rows, h, w], the attention to the taught word's tokens."""

    def __init__(self, positions: torch.Tensor) -> None:
        #: [rows, tokens], true on the taught word's tokens
        self.positions = positions
        self.maps: list[torch.Tensor] = []

    def loss(self, masks: torch.Tensor) -> torch.Tensor:
        """Mean squared difference between the maps and the concepts' masks [rows, 1, h, w] (DefectFill, eq. 6)."""
        each = [
            functional.mse_loss(
                functional.interpolate(found[:, None], size=masks.shape[-2:], mode="bilinear", align_corners=False),
                masks.float(),
            )
            for found in self.maps
        ]
        return torch.stack(each).mean()


class _Listening:
    """An attention processor that does what the layer's own does, and notes where the word was attended to."""

    def __init__(self, inner: Any, maps: AttentionMaps) -> None:
        self._inner = inner
        self._maps = maps

    def __call__(
        self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, *rest: Any, **named: Any
    ) -> torch.Tensor:
        rows = len(self._maps.positions)
        query = attn.to_q(hidden_states[-rows:])
        key = attn.to_k(encoder_hidden_states[-rows:])
        places = query.shape[1]
        heads = attn.heads
        query, key = (x.view(rows, -1, heads, x.shape[-1] // heads).transpose(1, 2) for x in (query, key))
        # scaled before they are multiplied: their product alone can be more than float16 holds
        shares = (query * attn.scale @ key.transpose(-1, -2)).float().softmax(dim=-1).mean(dim=1)
        wanted = self._maps.positions.to(shares).unsqueeze(1)
        side = int(places**0.5)
        found = (shares * wanted).sum(dim=-1) / wanted.sum(dim=-1).clamp(min=1)
        self._maps.maps.append(found.view(rows, side, places // side))
        made: torch.Tensor = self._inner(attn, hidden_states, encoder_hidden_states, *rest, **named)
        return made


@contextmanager
def listening(unet: Any, positions: torch.Tensor) -> Iterator[AttentionMaps]:
    """While open, the UNet's decoder notes how its last rows attend to the tokens at ``positions`` [rows, tokens].

    The way back has to lie within: where activations are not kept for it, layers are run again, and as they were.
    """
    maps = AttentionMaps(positions)
    before = dict(unet.attn_processors)
    # the decoder's layers place things; the encoder's say what is there (DefectFill, section 3.3)
    heard = {name for name in before if "attn2" in name and "up_blocks" in name}
    heard = heard or {name for name in before if "attn2" in name}
    unet.set_attn_processor({name: _Listening(own, maps) if name in heard else own for name, own in before.items()})
    try:
        yield maps
    finally:
        unet.set_attn_processor(before)


def token_positions(tokenizer: Any, sentence: str, word: str) -> list[bool]:
    """For every token of the sentence (padded as the model sees it), whether it belongs to the word."""
    ids = tokenizer(sentence, padding="max_length", truncation=True, max_length=tokenizer.model_max_length).input_ids
    sought = tokenizer(word, add_special_tokens=False).input_ids
    found = [False] * len(ids)
    for start in range(len(ids) - len(sought) + 1):
        if ids[start : start + len(sought)] == sought:
            found[start : start + len(sought)] = [True] * len(sought)
    return found
