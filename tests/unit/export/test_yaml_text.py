"""Any text of a person is read back from a YAML file as it was written."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from datagen.export.yaml_text import quoted


@given(st.text(st.characters(codec=None), max_size=50))
def test_text_is_read_back_as_it_was(text: str) -> None:
    line = quoted(text)
    assert len(line.splitlines()) == 1
    assert yaml.safe_load(f"key: {line}\nnext: 1\n") == {"key": text, "next": 1}
