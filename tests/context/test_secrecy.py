"""What a job that knows a secret may say."""

from __future__ import annotations

import copy
import json
import pickle
from urllib.parse import quote

import orjson
import pytest

from asyncblock.context import CredentialInput, Secrecy

SECRETS = [
    "t0p",
    'a "quoted" one',
    "one\nof two lines",
    "pass/word?",
    "über",
    "-----BEGIN KEY-----\nAbC=\n-----END-----",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_texts_show_stars_in_every_form(secret: str) -> None:
    secrecy = Secrecy()
    secrecy.learn(secret, "${{OO_SECRET:a,b,c}}")
    forms = [secret, repr({"k": secret}), json.dumps([secret]), quote(secret, safe=""), *secret.splitlines()]
    for form in forms:
        shown = secrecy.text(f"before {form} after")
        assert "***" in shown
        for line in secret.splitlines():
            assert line not in shown
    assert secrecy.text("nothing of it") == "nothing of it"


@pytest.mark.parametrize("secret", SECRETS)
def test_values_travel_with_the_reference(secret: str) -> None:
    secrecy = Secrecy()
    secrecy.learn(secret, "${{OO_SECRET:a,b,c}}")
    value = {"k": [secret, f"Bearer {secret}", 1], secret: None}
    sent = orjson.loads(secrecy.sent(orjson.dumps(value)))
    assert sent == {"k": ["${{OO_SECRET:a,b,c}}", f"Bearer {secret}", 1], secret: None}


def test_values_for_people_show_stars_and_stay_json() -> None:
    secrecy = Secrecy()
    for short in ("1", "n", "true"):
        secrecy.learn(short)
    shown = orjson.loads(secrecy.shown(orjson.dumps({"n": [1, True, "1\n", "its true"]})))
    assert shown == {"***": [1, True, "***\n", "its ***"]}


def test_a_longer_secret_wins_over_one_inside_of_it() -> None:
    secrecy = Secrecy()
    secrecy.learn("pass")
    secrecy.learn("password")
    assert secrecy.text("password pass") == "*** ***"


def test_without_secrets_nothing_is_touched() -> None:
    secrecy = Secrecy()
    secrecy.learn("  ")
    data = b'{"a": 1}'
    assert not secrecy.active
    assert secrecy.shown(data) is data
    assert secrecy.sent(data) is data


def test_a_credential_is_its_reference_and_its_parts() -> None:
    credential = CredentialInput("mail", "work", "c-1")
    assert credential == "${{OO_CREDENTIAL:mail,work,c-1}}"
    assert orjson.loads(orjson.dumps({"c": credential})) == {"c": str(credential)}
    for made in (copy.deepcopy(credential), pickle.loads(pickle.dumps(credential))):
        assert (made, made.type, made.name, made.id) == (credential, "mail", "work", "c-1")
