"""Reading YAML: scalars as YAML 1.2 has them, names as texts, and every bad file refused with its line and reason."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from asyncblock.errors import InvalidFlow
from asyncblock.flow.yamlfile import Map, Seq, dump_yaml, read_yaml


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    value, problems = read_yaml(path)
    assert not problems
    return value


def refused(tmp_path: Path, text: str) -> tuple[int | None, str]:
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    value, problems = read_yaml(path)
    assert value is None
    [problem] = problems
    assert problem.file == str(path)
    return problem.line, problem.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-7", -7), ("+3", 3), ("0", 0), ("0x1F", 31), ("0o17", 15), ("0b101", 5), ("-0x10", -16),
        ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("-1.5E-2", -0.015), (".inf", math.inf),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("18446744073709551615", 2**64 - 1), ("-9223372036854775808", -(2**63)),
        # YAML 1.1 takes all of these for something else.
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("Off", "Off"), ("y", "y"), ("12:30", "12:30"),
        ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"), ("2001-12-14t21:59:43.10-05:00",) * 2,
        ("1_000", "1_000"), ("010", "010"), ("0o8", "0o8"), ("1.2.3", "1.2.3"), ("-", None), ("1e999", "1e999"),
        ("'1'", "1"), ('"true"', "true"), ("!!str 1", "1"), ("!!int 1", 1), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: Any) -> None:
    found = read(tmp_path, f"a: {text}\n" if text != "-" else "a:\n")["a"]
    assert (found, type(found)) == (value, type(value))


def test_names_are_texts_however_they_look_and_values_are_not(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        dependencies: {lib: 1.10, other: 2}
        nodes:
          - node_id: 1
            inputs_from:
              - {handle: 2, value: {handle: 3, node_id: 1.10}, from_node: [{node_id: 1, output_handle: true}]}
              - {handle: null}
        """,
    )
    assert found["dependencies"] == {"lib": "1.10", "other": "2"}
    [node] = found["nodes"]
    assert node["node_id"] == "1"
    first, second = node["inputs_from"]
    assert first["handle"] == "2"
    assert first["value"] == {"handle": 3, "node_id": 1.1}
    assert first["from_node"] == [{"node_id": "1", "output_handle": "true"}]
    assert second["handle"] is None


def test_each_thing_knows_its_line(tmp_path: Path) -> None:
    found = read(tmp_path, "a: &x\n  b: 1\nc:\n  - d: 2\n    e: 3\n  - *x\n")
    assert isinstance(found, Map)
    assert (found.line, found.line_of("a"), found.line_of("c")) == (1, 1, 3)
    assert isinstance(found["c"], Seq)
    assert (found["c"].line, found["c"][0].line, found["c"][0].line_of("e")) == (4, 4, 5)
    assert found["c"][1] == {"b": 1}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [\n", 3, "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' stands here and in line 1"),
        ("x: {a: 1,\n  a: 2}\n", 2, "the key 'a' stands here and in line 1"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", 3, "merge keys"),
        ("a: 1\nb: &b [*b]\n", 2, "an alias contains itself"),
        ("a: *b\n", 1, "there is no anchor 'b'"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins"),
        ("a: 1\n? [b]\n: 2\n", 2, "a key must be a text"),
        ("a: &a b\n*a : 2\n", 2, "a key must be a text, not an alias"),
        ("a: 1\nb: !!binary aGVsbG8=\n", 2, "the tag 'tag:yaml.org,2002:binary' isn't supported"),
        ("a: 1\nb: !!set {x}\n", 2, "the tag 'tag:yaml.org,2002:set' isn't supported"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "isn't supported"),
        ("a: !mine 1\n", 1, "the tag '!mine' isn't supported"),
        ("a: !!int x\n", 1, "isn't supported here"),
        ("a: 1\nb: 18446744073709551616\n", 2, "more than 64 bits; write it as a text"),
        (f"a: {'9' * 1_000_000}\n", 1, "more than 64 bits"),
        ("a: 1\nb: \x07\n", None, "not valid YAML"),
        ("- a\n", 1, "must hold a mapping"),
        ("a\n", 1, "must hold a mapping"),
        ("", 1, "must hold a mapping"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, line: int | None, words: str) -> None:
    where, message = refused(tmp_path, text)
    assert where == line
    assert words in message


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 2_000_000,
        "- " * 2_000_000,
        "a: " + "{a: " * 1_000_000,
        "".join(f"{' ' * i}a:\n" for i in range(2500)),
    ],
    ids=["brackets", "dashes", "braces", "block"],
)
def test_what_is_nested_too_deeply_is_refused_and_holds_nobodys_stack(tmp_path: Path, text: str) -> None:
    """A parser that calls itself for each level ends the whole process."""
    path = tmp_path / "a.yaml"
    path.write_text(text)
    code = f"from pathlib import Path; from asyncblock.flow.yamlfile import read_yaml; print(read_yaml(Path({str(path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "it is nested too deeply (more than 200 levels)" in done.stdout


BOMBS = {
    "in sequences": "a0: &a0 [x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
    "in mappings": "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{{', '.join(f'k{k}: *a{i - 1}' for k in range(10))}}}\n" for i in range(1, 12)),
    "of text": f"a: &a {'x' * 1000}\nb:\n" + "  - *a\n" * 500_000,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_aliases_that_stand_for_too_much_are_refused(tmp_path: Path, name: str) -> None:
    text = BOMBS[name]
    if name == "of text":
        assert len(read(tmp_path, text)["b"]) == 500_000
        return
    assert "stands for too many values (more than 1000000)" in refused(tmp_path, text)[1]


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\x85\ufffe\uffff"))
LOOKS = st.sampled_from(
    ["no", "12:30", "2024-01-01", "1e5", "0o17", "1_0", "010", "null", "~", "=", "<<", ".inf", "0b1", "1."]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | LOOKS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | LOOKS, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(dump_yaml({"value": value}), "utf-8")
    found, problems = read_yaml(path)
    assert not problems
    assert found == {"value": value}
    assert repr(_plain(found)) == repr({"value": value})
    # A reader of YAML 1.1 finds the same texts.
    assert _texts(yaml.safe_load(path.read_text("utf-8"))) == _texts({"value": value})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, each in value.items() for text in (*_texts(key), *_texts(each))]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("value", [b"x", {1, 2}, object()])
def test_what_json_has_not_is_not_written(value: object) -> None:
    with pytest.raises(InvalidFlow, match="can't be written as YAML"):
        dump_yaml({"a": [value]})
