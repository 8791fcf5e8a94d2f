"""Where a plan cannot even be read, the error names the source and the way out."""

from pathlib import Path

import pytest

from metering.config import load_plan, plan_from_env, plan_from_file, plan_from_preset
from metering.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("a = 1\nb == 2", 2, 4), ("[plan]\nname = ", 2, 8), ("a = [1,\n2", 2, 2)],
)
def test_text_that_is_not_toml_is_refused_with_line_and_column(
    text: str, line: int, column: int
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_plan(text, source="shop.toml")

    assert str(caught.value).startswith("shop.toml is not TOML: ")
    assert f"at line {line}, column {column}" in str(caught.value)


def test_a_number_too_long_to_read_is_refused_too() -> None:
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load_plan(f"a = {'9' * 5000}", source="shop.toml")


def test_a_file_that_is_not_there_is_named_with_the_way_out(tmp_path: Path) -> None:
    missing = tmp_path / "plan.toml"

    with pytest.raises(ConfigurationError) as caught:
        plan_from_file(missing)

    assert str(missing) in str(caught.value)
    assert "preset:NAME" in str(caught.value)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(b"[plan]\nname = '\xff'")

    with pytest.raises(ConfigurationError, match="UTF-8"):
        plan_from_file(path)


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan_from_preset("freindli")

    assert "'freindli'" in str(caught.value)
    assert "Did you mean 'friendli'?" in str(caught.value)


@pytest.mark.parametrize("name", ["", "../presets/friendli", "friendli.toml", "/etc"])
def test_a_preset_is_a_name_and_never_a_path(name: str) -> None:
    with pytest.raises(ConfigurationError, match="There is no preset"):
        plan_from_preset(name)


@pytest.mark.parametrize("environ", [{}, {"METERING_CONFIG": ""}])
def test_an_environment_without_a_plan_names_the_variable(
    environ: dict[str, str],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan_from_env(environ)

    assert "METERING_CONFIG is not set" in str(caught.value)
    assert "preset:friendli" in str(caught.value)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """Some editors write one before the first letter, unseen."""
    path = tmp_path / "plan.toml"
    text = '[plan]\nname = "x"\n[[tiers]]\nlevel = 0\nname = "t"\n'
    path.write_text(text + 'output_tokens_max = "4K"\n', encoding="utf-8-sig")

    assert "x" == plan_from_file(path).name
