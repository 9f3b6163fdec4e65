"""Which menus may callers be let into, and is everything that is wrong with the others said at once?"""

from __future__ import annotations

import re

import pytest

from ocs.ivr.actions import SLOTS
from ocs.ivr.load import MenusError, default_menus, load
from ocs.services.pins import MAX_CARD, MAX_DIGITS, MIN_CARD, MIN_DIGITS
from ocs.services.vouchers import CODE_DIGITS

SOUND = """
start = "hello"
end = "bye"
languages = ["en", "de"]
wrong = ["hm"]

[nodes.hello]
say = ["hi"]
keys = { 1 = "number", 2 = "bye" }

[nodes.number]
say = ["hi"]
ask = "number"
then = "how_long"

[nodes.how_long]
do = "how_long"
on = { lasts = "say", no_money = "bye", no_route = "bye", unavailable = "bye" }

[nodes.say]
say = ["hi", "{minutes}"]
then = "hello"

[nodes.bye]
say = ["hi"]
hangup = true

[texts]
hi = { en = "Hi.", de = "Hallo." }
hm = { en = "What?", de = "Wie?" }
"""

FAULTS = [
    ("is no TOML", r'start = "hello"', "start = ", "file", "is not TOML"),
    ("starts nowhere", r'start = "hello"', 'start = "hullo"', "start", "there is no node 'hullo'"),
    ("ends in a menu", r'end = "bye"', 'end = "hello"', "end", "hello does not hang up"),
    ("a misspelt key", r'start = "hello"', 'start = "hello"\nstrat = 1', "strat", "no such key"),
    ("a text without German", r', de = "Wie\?"', "", "texts.hm.de", "the text is missing"),
    (
        "a prompt that is not there",
        r'say = \["hi"\]\nhangup',
        'say = ["ho"]\nhangup',
        "nodes.bye.say",
        "no text 'ho'",
    ),
    (
        "an outcome that leads nowhere",
        r"no_money = \"bye\", ",
        "",
        "nodes.how_long.on",
        "no_money leads nowhere",
    ),
    (
        "an outcome that never comes",
        r"no_money =",
        'ate = "bye", no_money =',
        "nodes.how_long.on.ate",
        "never comes out so",
    ),
    ("an action that there is not", r'do = "how_long"', 'do = "dance"', "nodes.how_long.do", "is none of"),
    ("a slot that there is not", r'ask = "number"', 'ask = "shoe"', "nodes.number.ask", "is none of"),
    ("a node that nothing leads to", r"1 = \"number\", ", "", "nodes.number", "nothing leads here"),
    ("no key of a telephone", r"1 = ", "A = ", "nodes.hello.keys.A", "no key of a telephone"),
    ("a value that no action tells", r"\{minutes\}", "{hours}", "nodes.say.say", "no value 'hours'"),
    (
        "an action before its digits",
        r'1 = "number", 2',
        '1 = "number", 3 = "how_long", 2',
        "nodes.how_long.do",
        "number is not keyed in",
    ),
    (
        "an action whose digits only some outcomes bring",
        r'2 = "bye" }',
        '3 = "dialled", 2 = "bye" }\n\n[nodes.dialled]\ndo = "dialled"\n'
        'on = { number = "how_long", nothing = "how_long", unavailable = "bye" }',
        "nodes.how_long.do",
        "number is not keyed in",
    ),
    (
        "a way round that asks the caller nothing",
        r'then = "hello"',
        'then = "how_long"',
        "nodes.how_long",
        "comes round to itself without a key",
    ),
    (
        "tries without end",
        r'ask = "number"',
        'ask = "number"\ntries = 1000',
        "nodes.number.tries",
        "from 1 to 10",
    ),
    (
        "a list without items",
        r'then = "hello"',
        'then = "hello"\neach = "calls"',
        "nodes.say",
        "belong together",
    ),
    ("a node of no kind", r"hangup = true", "", "nodes.bye", "has none of"),
]


def test_the_menus_that_come_with_the_product_load():
    menus = load(default_menus())
    assert menus.languages == ("en", "de")
    assert all(set(prompt.texts) == {"en", "de"} for prompt in menus.prompts.values())


def test_sound_menus_load():
    assert set(load(SOUND).nodes) == {"hello", "number", "how_long", "say", "bye"}


@pytest.mark.parametrize(
    ("pattern", "there", "key", "reason"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_what_is_wrong_is_said_with_its_place(pattern, there, key, reason):
    broken, times = re.subn(pattern, there.replace("\\", r"\\"), SOUND, count=1)
    assert times == 1
    with pytest.raises(MenusError) as fault:
        load(broken)
    assert any(one.key == key and reason in one.reason for one in fault.value.mistakes), fault.value.mistakes


def test_all_that_is_wrong_is_said_at_once():
    broken = SOUND.replace('end = "bye"', 'end = "by"').replace(', de = "Wie?"', "").replace("tries", "")
    with pytest.raises(MenusError) as fault:
        load(broken)
    keys = {one.key for one in fault.value.mistakes}
    assert {"end", "texts.hm.de"} <= keys
    assert "more" in fault.value.message


def test_an_installation_offers_the_languages_that_it_names():
    assert load(SOUND, ("de",)).languages == ("de",)
    with pytest.raises(MenusError, match="'fr' is wanted"):
        load(SOUND, ("fr",))


def test_what_operators_give_out_callers_can_key_in():
    assert (SLOTS["pin"].least, SLOTS["pin"].most) == (MIN_DIGITS, MAX_DIGITS)
    assert (SLOTS["card"].least, SLOTS["card"].most) == (MIN_CARD, MAX_CARD)
    assert SLOTS["voucher"].least <= CODE_DIGITS <= SLOTS["voucher"].most
