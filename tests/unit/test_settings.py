"""The configuration: what is wrong is said with file, line and what to write."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.company import TEXTS, rule_files
from tieout.canonical.secret import Secret
from tieout.masterdata.rules import RuleErrors
from tieout.masterdata.tables import load
from tieout.settings import ConfigurationError, SettingsFile

GOOD = """\
company = "demo"

[web]
port = 8700

[[entities]]
code = "us"
name = "Example Inc"
time_zone = "America/Los_Angeles"
functional_currency = "USD"
currencies = ["USD"]
billing = "billing-us"
erp = "erp-main"
subsidiary = "1"

[[entities]]
code = "jp"
name = "Example KK"
time_zone = "Asia/Tokyo"
functional_currency = "JPY"
currencies = ["JPY"]
billing = "billing-jp"
erp = "erp-main"
subsidiary = "2"

[connections.erp-main]
vendor = "acme"
key = "env:TIEOUT_TEST_KEY"
"""


class Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    key: Secret
    timeout_seconds: int = 30


def read(text: str) -> SettingsFile:
    return SettingsFile(Path("tieout.toml"), text)


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(text)
    return str(raised.value)


def section(text: str) -> Section:
    file = read(GOOD.replace('key = "env:TIEOUT_TEST_KEY"', text))
    given = {key: value for key, value in file.settings.connections["erp-main"].items() if key != "vendor"}
    return file.convert(given, Section, "connections.erp-main")


def test_a_good_file_is_read() -> None:
    settings = read(GOOD).settings
    assert [entity.code for entity in settings.entities] == ["us", "jp"]
    assert settings.entities[1].value().time_zone == "Asia/Tokyo"


def test_a_missing_file_names_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="tieout init"):
        SettingsFile(tmp_path / "tieout.toml")


def test_bad_toml_names_the_line() -> None:
    assert refusal('company = "demo"\nport = = 1\n').startswith("tieout.toml:2: not TOML")


def test_an_unknown_key_names_its_line_and_the_key_that_was_meant() -> None:
    said = refusal(GOOD.replace("port = 8700", "port = 8700\nmax_body_byte = 5"))
    assert said.startswith("tieout.toml:5: ")
    assert "max_body_byte" in said
    assert "did you mean max_body_bytes?" in said
    assert "known here: host, port, max_body_bytes" in said


def test_a_missing_key_names_the_table_it_is_missing_from() -> None:
    said = refusal(GOOD.replace('time_zone = "Asia/Tokyo"\n', ""))
    assert said.startswith("tieout.toml:16: ")
    assert "time_zone" in said
    assert "write time_zone = ..." in said


def test_a_wrong_type_says_what_to_write() -> None:
    said = refusal(GOOD.replace("port = 8700", 'port = "8700"'))
    assert said.startswith("tieout.toml:4: ")
    assert "a whole number without quotes" in said


def test_a_wrong_choice_lists_the_choices() -> None:
    said = refusal(GOOD.replace('subsidiary = "2"', 'subsidiary = "2"\nzero_total = "maybe"'))
    assert said.startswith("tieout.toml:25: ")
    assert "ignore, post" in said


@pytest.mark.parametrize("url", ["mysql://here/x", "tieout.db", "sqlite://", "postgresql:///"])
def test_a_bad_database_url_says_what_to_write(url: str) -> None:
    said = refusal(f'{GOOD}\n[database]\nurl = "{url}"\n')
    assert said.startswith("tieout.toml:30: ")
    assert "sqlite:///FILE or postgresql://USER@HOST/NAME" in said


def test_an_unknown_time_zone_and_currency_name_their_entity() -> None:
    said = refusal(GOOD.replace("Asia/Tokyo", "Asia/Edo"))
    assert said.startswith("tieout.toml:16: ")
    assert "Asia/Edo" in said
    assert "ISO 4217" in refusal(GOOD.replace('["JPY"]', '["yen"]'))


def test_a_secret_comes_from_the_environment_or_a_file_and_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=r"tieout.toml:28: .*TIEOUT_TEST_KEY is not set") as raised:
        section('key = "env:TIEOUT_TEST_KEY"')
    assert "connections.erp-main" in str(raised.value)
    monkeypatch.setenv("TIEOUT_TEST_KEY", "hush")
    for text in ('key = "env:TIEOUT_TEST_KEY"', 'key = { env = "TIEOUT_TEST_KEY" }', 'key = "hush"'):
        found = section(text)
        assert found.key.reveal() == "hush"
        assert "hush" not in repr(found)
    (tmp_path / "key").write_text("hush\n")
    assert section(f'key = {{ file = "{tmp_path / "key"}" }}').key.reveal() == "hush"


def test_a_connection_section_names_its_own_line() -> None:
    with pytest.raises(ConfigurationError, match=r"tieout.toml:29: .*timeout_second") as raised:
        section('key = "x"\ntimeout_second = 3')
    assert "did you mean timeout_seconds?" in str(raised.value)


def test_overlapping_rules_name_file_line_and_what_to_write() -> None:
    overlap = TEXTS["terms"] + "N30b,NET30,45,3,2026-01-01,\n"
    with pytest.raises(RuleErrors) as raised:
        load(rule_files(terms=overlap), [entity.value() for entity in read(GOOD).settings.entities])
    assert str(raised.value).startswith("rules/terms.csv:3:")
