"""Records how much each position in a crop attends to the trained word, in a UNet's cross-attention. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as functional


class AttentionMaps:
    """The attention maps of one forward pass.

    ``maps`` has a map [rows, h, w] for each layer. Its values are the attention of a position in the crop to the tokens
    of the trained word.
    """

    def __init__(self, positions: torch.Tensor) -> None:
        #: [rows, tokens], true on the tokens of the trained word
        self.positions = positions
        self.maps: list[torch.Tensor] = []

    def loss(self, masks: torch.Tensor) -> torch.Tensor:
        """Return the mean squared difference between the maps and the masks [rows, 1, h, w] (DefectFill, eq. 6)."""
        losses = [
            functional.mse_loss(
                functional.interpolate(layer_map[:, None], size=masks.shape[-2:], mode="bilinear", align_corners=False),
                masks.float(),
            )
            for layer_map in self.maps
        ]
        return torch.stack(losses).mean()


class _RecordingProcessor:
    """An attention processor that records the attention to the trained word and calls the layer's own processor."""

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
        # the query is scaled before the product, which could overflow in float16
        shares = (query * attn.scale @ key.transpose(-1, -2)).float().softmax(dim=-1).mean(dim=1)
        positions = self._maps.positions.to(shares).unsqueeze(1)
        side = int(places**0.5)
        attention = (shares * positions).sum(dim=-1) / positions.sum(dim=-1).clamp(min=1)
        self._maps.maps.append(attention.view(rows, side, places // side))
        output: torch.Tensor = self._inner(attn, hidden_states, encoder_hidden_states, *rest, **named)
        return output


@contextmanager
def listening(unet: Any, positions: torch.Tensor) -> Iterator[AttentionMaps]:
    """Context manager in which the UNet's decoder records the attention of its last rows to some tokens.

    ``positions`` [rows, tokens] is true on those tokens. The backward pass must run within the context. With gradient
    checkpointing, it runs the layers again, and they must still record.
    """
    maps = AttentionMaps(positions)
    processors = dict(unet.attn_processors)
    # the decoder's layers carry the position, the encoder's the content (DefectFill, section 3.3)
    recorded = {name for name in processors if "attn2" in name and "up_blocks" in name}
    recorded = recorded or {name for name in processors if "attn2" in name}
    unet.set_attn_processor(
        {name: _RecordingProcessor(own, maps) if name in recorded else own for name, own in processors.items()}
    )
    try:
        yield maps
    finally:
        unet.set_attn_processor(processors)


def token_positions(tokenizer: Any, sentence: str, word: str) -> list[bool]:
    """Return, for every token of the padded sentence, whether it belongs to ``word``."""
    ids = tokenizer(sentence, padding="max_length", truncation=True, max_length=tokenizer.model_max_length).input_ids
    word_ids = tokenizer(word, add_special_tokens=False).input_ids
    positions = [False] * len(ids)
    for start in range(len(ids) - len(word_ids) + 1):
        if ids[start : start + len(word_ids)] == word_ids:
            positions[start : start + len(word_ids)] = [True] * len(word_ids)
    return positions
