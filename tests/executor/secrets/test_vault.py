"""Where secrets and credentials are found, and what is said when they aren't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asyncblock.errors import Unavailable
from asyncblock.executor.secrets.vault import Vault

OURS = {
    "secrets": {"prod": {"type": "aws", "values": {"token": "t0p", "id": "who"}}},
    "credentials": {"c-1": {"type": "mail", "values": {"user": "u", "password": "p4ss"}}},
}
ORIGINAL = {"prod": {"secretType": "aws", "secrets": [{"secretKey": "token", "value": "t0p"}]}}


def vault(path: Path, content: object, **environ: str) -> Vault:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Vault({"ASYNCBLOCK_SECRETS": str(path), **environ})


@pytest.mark.parametrize("layout", [OURS, ORIGINAL], ids=["ours", "the original's"])
def test_a_secret_is_found_in_either_layout(tmp_path: Path, layout: object) -> None:
    assert vault(tmp_path / "s.json", layout).secret("aws", "prod", "token") == "t0p"


def test_a_credential_is_found_by_its_id(tmp_path: Path) -> None:
    assert vault(tmp_path / "s.json", OURS).credential("c-1") == {"user": "u", "password": "p4ss"}


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    found = vault(
        tmp_path / "s.json",
        OURS,
        ASYNCBLOCK_SECRET_PROD__TOKEN="from outside",
        ASYNCBLOCK_CREDENTIAL_C_1='{"user": "other"}',
    )
    assert found.secret("aws", "prod", "token") == "from outside"
    assert found.secret("aws", "prod", "id") == "who"
    assert found.credential("c-1") == {"user": "other"}


def test_files_are_looked_for_in_the_users_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Unavailable, match=r"\.config/asyncblock/secrets\.json isn't there; ASYNCBLOCK_SECRETS"):
        Vault({}).secret("aws", "prod", "token")
    original = tmp_path / "app-config/oomol-secrets/secrets.json"
    original.parent.mkdir(parents=True)
    original.write_text(json.dumps(ORIGINAL))
    assert Vault({}).secret("aws", "prod", "token") == "t0p"
    ours = tmp_path / "config/asyncblock/secrets.json"
    ours.parent.mkdir(parents=True)
    ours.write_text(json.dumps({"secrets": {"prod": {"type": "aws", "values": {"token": "ours"}}}}))
    assert Vault({"XDG_CONFIG_HOME": str(tmp_path / "config")}).secret("aws", "prod", "token") == "ours"


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        ("other", "token", "there is no secret 'other': neither ASYNCBLOCK_SECRET_OTHER__TOKEN in the environment"),
        ("prod", "pin", "there is no key 'pin' in secret 'prod'"),
    ],
)
def test_what_is_not_there_is_named_with_the_places(tmp_path: Path, name: str, key: str, words: str) -> None:
    with pytest.raises(Unavailable, match=words) as caught:
        vault(tmp_path / "s.json", OURS).secret("aws", name, key)
    assert str(tmp_path / "s.json") in str(caught.value)
    assert "t0p" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        '{"secrets": {"prod": "t0p"',
        '"t0p"',
        '{"secrets": ["t0p"]}',
        '{"secrets": {"prod": {"values": {"token": ["t0p"]}}}}',
        '{"secrets": {"prod": "t0p"}}',
        '{"prod": {"secretType": "aws", "secrets": [{"secretKey": "token", "value": ["t0p"]}]}}',
        '{"credentials": {"prod": "t0p"}}',
    ],
)
def test_a_malformed_file_is_named_and_its_values_are_not(tmp_path: Path, content: str) -> None:
    with pytest.raises(Unavailable, match=r"s\.json") as caught:
        vault(tmp_path / "s.json", content).secret("aws", "prod", "token")
    assert "t0p" not in str(caught.value)


def test_a_malformed_credential_in_the_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="ASYNCBLOCK_CREDENTIAL_C isn't JSON"):
        Vault({"ASYNCBLOCK_CREDENTIAL_C": "p4ss"}).credential("c")
