"""The documents' tables of parameters agree with the engines' models."""

from __future__ import annotations

import pytest

from stage.parameter_tables import TABLES, parameter_table, with_table


@pytest.mark.parametrize("document", TABLES, ids=lambda path: path.name)
def test_a_document_has_the_table_of_the_engine_s_schema(document):
    text = document.read_text(encoding="utf-8")
    assert with_table(document) == text, "run: PYTHONPATH=scripts python -m stage.parameter_tables"


def test_a_row_has_the_default_the_limits_and_the_meaning():
    row = "| `size_factor` | `1.0` | number from 0.2 to 5 | multiplies the size of every concept |"
    assert row in parameter_table("composite", "").splitlines()
