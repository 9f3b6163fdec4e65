"""The settings file: every mistake is named with its key, value and reason; secrets stay secret."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from ocs.refusals import Refusal
from ocs.runtime.config_example import example
from ocs.runtime.config_file import MASK, SettingsError, find_file, load, render
from ocs.runtime.settings import Section, Settings
from ocs.runtime.settings.base import parse_address
from ocs.services.identify import Rule
from ocs.sessions.events import Mode
from switch_adapters.freeswitch.config import Offer


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OCS_CONFIG",):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ocs.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(path)
    return {problem.key: problem.reason for problem in caught.value.problems}


SWITCH = '[[freeswitch]]\nname = "fs1"\npassword = "x"\n'
MISTAKES = [
    # what is written, the key that is named, words of the reason
    ("[daemon]\nhttp_listn = ':80'", "daemon.http_listn", "did you mean http_listen?"),
    ("[deamon]\nx = 1", "deamon", "did you mean daemon?"),
    ("[charging]\nslice_s = 'long'", "charging.slice_s", "valid integer"),
    ("[charging]\nslice_s = 4", "charging.slice_s", "greater than or equal to 5"),
    ("[charging]\nslice_s = 20\nlead_s = 20", "charging.lead_s", "must be below slice_s (20)"),
    ("[charging]\nfirst_slice_s = 5\nfloor_s = 6", "charging.floor_s", "must not be above first_slice_s (5)"),
    ("[database]\nurl = 'mysql://x/y'", "database.url", "mysql is not supported"),
    ("[database]\nurl = 'nonsense'", "database.url", "is not a database URL"),
    ("[database]\npassword_file = 'nowhere'", "database.password_file", "cannot be read: No such file"),
    ("[daemon]\nhttp_listen = '8080'", "daemon.http_listen", "write HOST:PORT"),
    ("[daemon]\nhttp_listen = '::1:8080'", "daemon.http_listen", "IPv6 address in brackets"),
    ("[daemon]\nhttp_listen = '127.0.0.1:99999'", "daemon.http_listen", "write HOST:PORT"),
    ("[daemon]\nhttp_listen = '127.0.0.1:8080'", "daemon.token", "http_listen needs a token"),
    ("[daemon]\ntoken = 'short'", "daemon.token", "16 characters or more"),
    ("[daemon]\nnas_token = 'short'", "daemon.nas_token", "16 characters or more"),
    ("[daemon]\ntoken = 'sixteen-characters'\nnas_token = 'sixteen-characters'", "daemon.nas_token",
     "must differ from token"),
    ("[daemon]\ncontrol_socket_mode = '0999'", "daemon.control_socket_mode", "pattern"),
    ("[daemon]\ncontrol_socket_group = 'no-such-group'", "daemon.control_socket_group", "is not a group"),
    ("[redis]\nurl = 'http://x'", "redis.url", "pattern"),
    ("[numbering]\ncountry_code = '049'", "numbering.country_code", "pattern"),
    ("[numbering]\nbare_numbers = 'national'", "numbering.bare_numbers", "national needs country_code"),
    ("[numbering]\nmin_digits = 9\nmax_digits = 8", "numbering.max_digits", "must not be below min_digits"),
    ("[[payer]]\nmatch = 'phase_of_moon'", "payer[0].match", "is not a fact of a call"),
    ("[[payer]]\nmatch = 'sip_user'\npattern = '('", "payer[0].pattern", "is not a regular expression"),
    ("[[payer]]\nmatch = 'sip_user'\npattern = '(a)'\naccount = '{2}'", "payer[0].account",
     "{2}, which is not a group"),
    ("[[payer]]\nmatch = 'sip_user'\naccount = '{value'", "payer[0].account", "is not a template"),
    ("[[payer]]\nmatch = 'sip_user'\naccount = 'a'\ntable = {x = 'y'}", "payer[0].table", "not both"),
    ("[[payer]]\nmatch = 'source_ip'\ntable = {'10.0.0.300' = 'y'}", "payer[0].table", "is not an address"),
    ("[[payer]]\nmatch = 'prefix'", "payer[0].table", "needs a table"),
    ("[[payer]]\nmatch = 'always'", "payer[0].table", "needs account"),
    ("[[payer]]\nmatch = 'sip_user'\nwhen = {context = '('}", "payer[0].when", "is not a regular expression"),
    ("[[payer]]\npattern = 'x'", "payer[0].match", "is required"),
    ("[[freeswitch]]\nname = 'fs1'", "freeswitch[0].password", "is required: set password_file"),
    (SWITCH + SWITCH, "freeswitch", "two switches are named 'fs1'"),
    (SWITCH + "rejections = {no_rate = {cause = 'nope'}}", "freeswitch[0].rejections.no_rate.cause",
     "pattern"),
    (SWITCH + "rejections = {no_such = {}}", "freeswitch[0].rejections.no_such.[key]", "should be"),
    (SWITCH + "[[freeswitch.calls]]\noffer = 'watch'\nvariable_pattern = 'x'",
     "freeswitch[0].calls[0].variable_pattern", "needs variable"),
    (SWITCH + "cdr_directory = 'nowhere'", "freeswitch[0].cdr_directory", "is not a directory"),
    ("[charging]\nring_timeout_s = 60\n[ivr]\ndial = 'sofia/gateway/carrier/{destination}'", "ivr",
     "ring_s must be below charging.ring_timeout_s"),
    ("x = [", "file", "is not TOML"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "key", "reason"), MISTAKES, ids=[row[1] + ": " + row[2] for row in MISTAKES]
)
def test_a_mistake_is_named_with_its_key_and_reason(tmp_path: Path, text: str, key: str, reason: str) -> None:
    found = problems(write(tmp_path, text))
    assert key in found
    assert reason in found[key]


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = "[charging]\nslice_s = 1\nfloor_s = 0\n[daemon]\nhttp_listen = 'x'\n[redis]\nurl = 'y'"
    assert set(problems(write(tmp_path, text))) >= {
        "charging.slice_s", "charging.floor_s", "daemon.http_listen", "redis.url",
    }  # fmt: skip


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    assert problems(tmp_path / "gone.toml") == {"file": "cannot be read: No such file or directory"}


def test_a_file_that_is_not_utf8_is_turned_away(tmp_path: Path) -> None:
    path = tmp_path / "ocs.toml"
    path.write_bytes(b"[daemon]\n# caf\xe9\n")
    assert problems(path) == {"file": "is not UTF-8 text"}


def test_without_a_file_the_defaults_are_good() -> None:
    assert load(None).database.url == "sqlite:///var/ocs.db"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "[charging]\nslice_s = 40\nmax_call_s = 3600\n")
    monkeypatch.setenv("OCS__CHARGING__SLICE_S", "30")
    charging = load(path).charging
    assert (charging.slice_s, charging.max_call_s) == (30, 3600)


def test_a_mistake_in_the_environment_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCS__CHARGING__SLICE_S", "soon")
    monkeypatch.setenv("OCS__CHARGIN__SLICE_S", "30")
    with pytest.raises(SettingsError) as caught:
        load(None)
    found = {problem.key: problem for problem in caught.value.problems}
    assert found["OCS__CHARGING__SLICE_S"].value == "soon"
    assert "did you mean charging?" in found["OCS__CHARGIN__SLICE_S"].reason


def test_switches_may_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCS__FREESWITCH", '[{"name": "fs9", "password": "x"}]')
    assert [switch.name for switch in load(None).freeswitch] == ["fs9"]


def test_a_value_of_the_environment_that_is_not_json_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCS__FREESWITCH", "fs9")
    with pytest.raises(SettingsError):
        load(None)


# --- secrets ------------------------------------------------------------------------------------


def test_a_secret_comes_from_the_first_line_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret pass\nsecond line\n")
    path = write(tmp_path, "[database]\nurl='postgresql+psycopg://u@h/d'\npassword_file = 'secret'")
    settings = load(path)
    assert settings.database.full_url().password == "s3cret pass"
    assert "s3cret" not in str(settings.database.full_url())


def test_a_secret_and_its_file_together_are_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a")
    found = problems(write(tmp_path, "[database]\npassword_file = 'secret'\npassword = 'b'"))
    assert found == {"database.password": "set either password or password_file, not both"}


def test_an_empty_secret_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    assert "is empty" in problems(write(tmp_path, "[redis]\npassword_file = 'secret'"))["redis.password"]


SECRETS = """
[database]
url = "postgresql+psycopg://u:hush@h/d"
[daemon]
nas_token = "hush-hush-hush-hush-2"
token = "hush-hush-hush-hush"
[redis]
url = "redis://:hush@h/0"
[[freeswitch]]
name = "fs1"
password = "hush"
cdr_secret = "hush"
[radius]
nonce_secret = "hush"
[[nas]]
name = "gw"
[nas.radius]
addresses = ["192.0.2.1"]
secret = "hush"
number_password = "hush"
[prepaid]
key = "hush-hush-hush-hush-hush-hush-hush-hush"
old_key = "hush-hush-hush-hush-hush-hush-hush-hush-2"
"""


def test_shown_settings_mask_every_secret_and_load_again(tmp_path: Path) -> None:
    shown = render(load(write(tmp_path, SECRETS)))
    assert "hush" not in shown
    assert shown.count(MASK) == 11
    assert tomllib.loads(shown)["freeswitch"][0]["name"] == "fs1"


def test_a_wrong_secret_is_not_repeated_in_the_report(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, "[daemon]\ntoken = 'hunter2'\n[database]\nurl = 'mysql://u:hunter2@h/d'"))
    assert "hunter2" not in repr(caught.value.problems)


@pytest.mark.parametrize("key", ["key", "old_key"])
def test_a_key_that_is_too_short_is_not_repeated_either(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, f"[prepaid]\n{key} = 'hunter2'"))
    assert "hunter2" not in repr(caught.value.problems)


# --- documentation ------------------------------------------------------------------------------


def sections(model: Any) -> list[type[Section]]:
    found: list[type[Section]] = []
    for info in model.model_fields.values():
        for part in (info.annotation, *getattr(info.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, Section):
                found += [part, *sections(part)]
    return found


def test_every_key_is_documented() -> None:
    bare = [
        f"{model.__name__}.{name}"
        for model in sections(Settings)
        for name, info in model.model_fields.items()
        if not info.description
    ]
    assert bare == []


def test_the_sample_file_is_the_example_and_can_be_loaded(tmp_path: Path) -> None:
    sample = (files("ocs.sample") / "ocs.toml").read_text(encoding="utf-8")
    assert sample == example(), "run: ocs config example > ocs/sample/ocs.toml"
    assert [rule.match for rule in load(write(tmp_path, sample)).payer] == [
        "variable:ocs_account",
        "source_ip",
        "sip_user",
    ]


def test_the_defaults_that_the_example_shows_are_those_in_force(tmp_path: Path) -> None:
    lines = example().splitlines()
    shown = "\n".join(
        line.removeprefix("# ") if " = " in line and "…" not in line else line for line in lines
    )
    only = shown.split("# --- payer")[0]
    assert load(write(tmp_path, only)) == load(None)


# --- in the words of others ---------------------------------------------------------------------


def test_rules_number_plan_and_switches_map_onto_the_inner_values(tmp_path: Path) -> None:
    text = """
[numbering]
country_code = "49"
special_numbers = ["110"]
[[payer]]
match = "sip_user"
mode = "watch"
when = { context = "public" }
pattern = "u(.*)"
account = "{1}"
[[freeswitch]]
name = "fs1"
password = "x"
breaker_percent = 50
[freeswitch.rejections]
no_rate = { cause = "UNALLOCATED_NUMBER", announcement = "no.wav" }
[[freeswitch.calls]]
offer = "ignore"
destination_pattern = "\\\\*9.*"
"""
    settings = load(write(tmp_path, text))
    assert settings.payer[0].rule() == Rule("sip_user", {"context": "public"}, "u(.*)", "{1}", {}, Mode.WATCH)
    assert settings.numbering.plan().special == frozenset({"110"})
    switch = settings.freeswitch[0].config()
    assert switch.rejections[Refusal.NO_RATE].cause == "UNALLOCATED_NUMBER"
    assert switch.rejections[Refusal.INSUFFICIENT_FUNDS].respond == "402 Payment Required"
    assert switch.resync.breaker_share == 0.5
    assert switch.rules[0].offer is Offer.IGNORE
    assert switch.rules[0].destination_pattern is not None
    assert switch.rules[0].destination_pattern.fullmatch("*98")


@pytest.mark.parametrize("fact", ["attribute:X-Trunk", "attribute:Cisco-AVPair:call-id", "nas_kind"])
def test_rules_may_look_at_what_a_nas_says(tmp_path: Path, fact: str) -> None:
    assert load(write(tmp_path, f"[[payer]]\nmatch = '{fact}'")).payer[0].rule() == Rule(fact)


def test_a_switch_without_rules_authorises_what_parks(tmp_path: Path) -> None:
    assert [rule.offer for rule in load(write(tmp_path, SWITCH)).freeswitch[0].config().rules] == [
        Offer.AUTHORISE
    ]


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:8080", ("::1", 8080)), ("localhost:0", ("localhost", 0))],
)
def test_addresses_are_split_at_the_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


def test_the_file_is_looked_for_in_the_documented_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_file() is None
    write(tmp_path, "")
    assert find_file() == Path("ocs.toml")
    monkeypatch.setenv("OCS_CONFIG", "other.toml")
    assert find_file() == Path("other.toml")
    assert find_file(Path("this.toml")) == Path("this.toml")
