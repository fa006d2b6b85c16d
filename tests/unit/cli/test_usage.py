"""Wrong command lines and settings are refused with sentences, and wrong commands with the nearest ones."""

from __future__ import annotations

import pytest
import typer
from pydantic import ValidationError
from typer.main import get_command

from command_lines import parsed
from datagen.cli import app
from datagen.cli.usage import sentence_of
from datagen.settings import Settings


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("datagen add plates concpt photos", "'concpt' is not one of 'concept', 'canvas', 'background'."),
        ("datagen approve plates --count many", "'many' is not a whole number."),
        ("datagen discard plates 3 four", "'four' is not a whole number."),
        ("datagen provision plates --min-good much", "'much' is not a number."),
        ("datagen provision plates --min-good 2", "2 is too large; the most is 1."),
        ("datagen audit plates --count 0", "0 is too small; the least is 1."),
    ],
)
def test_wrong_argument_is_named_in_a_sentence(line: str, sentence: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        parsed(line)
    assert refused.value.message == sentence


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("PORT", "abc", "'abc' is not a whole number"),
        ("PORT", "70000", "70000 is too large; the most is 65,535"),
        ("DATAGEN_PREVIEW_SIZE", "0", "0 is too small; the least is 1"),
        ("DATAGEN_OUTAGE_HOURS", "0", "0 is too small; it has to be more than 0"),
        ("DATAGEN_OUTAGE_HOURS", "long", "'long' is not a number"),
        ("LOG_LEVEL", "loud", "must be DEBUG, INFO, WARNING or ERROR"),
    ],
)
def test_wrong_setting_is_named_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None)
    [problem] = refused.value.errors()
    assert sentence_of(problem).startswith(sentence)


@pytest.mark.parametrize(
    ("unknown", "suggestion"),
    [
        ("list", "did you mean status?"),
        ("statsu", "did you mean status?"),
        ("create", "did you mean provision?"),
        ("mend_links", "did you mean mend-links?"),
        ("qqqqq", "they are listed by: datagen --help"),
    ],
)
def test_unknown_command_suggests_the_nearest(unknown: str, suggestion: str) -> None:
    with pytest.raises(Exception, match="there is no command") as refused:
        parsed(f"datagen {unknown} plates")
    assert refused.value.message == f"there is no command {unknown!r}; {suggestion}"  # type: ignore[attr-defined]


def test_suggested_commands_exist() -> None:
    from datagen.cli.usage import _OTHER_NAMES

    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert set(_OTHER_NAMES.values()) <= set(commands)
    assert not set(_OTHER_NAMES) & set(commands)
