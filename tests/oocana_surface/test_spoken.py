"""Values that blocks of ``oocana`` get and send."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..flows import end_of, node, run_flow, write_flow

pytest.importorskip("oocana", reason="needs the extra 'oocana'")

VAR = {"handle": "var", "json_schema": {"contentMediaType": "oomol/var"}}
BIN = {"handle": "bin", "json_schema": {"contentMediaType": "oomol/bin"}}


async def test_var_and_binary_values_are_what_they_were(tmp_path: Path) -> None:
    first = """
        from oocana import Context

        class Thing:
            pass

        def main(params, context: Context):
            context.output("bin", b"\\x01\\xff")
            return {"var": Thing()}
    """
    second = """
        from oocana import Context

        def main(params, context: Context):
            return {"out": [type(params["var"]).__name__, params["bin"].hex()]}
    """
    inputs = [VAR, BIN]
    sources = [
        {"handle": each["handle"], "from_node": [{"node_id": "a", "output_handle": each["handle"]}]} for each in inputs
    ]
    flow = write_flow(
        tmp_path,
        [
            node("a", first, tmp_path, outputs=[VAR, BIN]),
            node("b", second, tmp_path, inputs=inputs, inputs_from=sources),
        ],
        outputs_from=[{"handle": "out", "from_node": [{"node_id": "b", "output_handle": "out"}]}],
    )
    assert end_of(await run_flow(flow, workers=1)).outputs == {"out": ["Thing", "01ff"]}


def test_what_their_json_carries_and_ours_does_not_is_sent_as_theirs_says_it() -> None:
    from asyncblock.oocana_surface.spoken import as_json

    assert as_json({"a": [b"text", {None: 1, True: 2}]}) == {"a": ["text", {"null": 1, "true": 2}]}
    assert as_json(b"text") == "text"
    for value in (1, "x", [1, 2], {"a": {1: 2}}, {3.5: (1, 2)}):
        assert as_json(value) is value
    # What neither carries is left to ours, which says where it is.
    hopeless = {"a": b"\xff\xfe", None: object()}
    assert as_json(hopeless) is hopeless


def test_credentials_are_of_their_class_and_travel_on_as_what_they_came_as() -> None:
    import oocana

    from asyncblock.context import CredentialInput
    from asyncblock.oocana_surface.spoken import OocanaCredential, with_credentials

    given = {"a": CredentialInput("kind", "name", "id7"), "b": 1}
    made = with_credentials(given)
    assert isinstance(made["a"], oocana.CredentialInput)
    assert isinstance(made["a"], OocanaCredential)
    assert (made["a"].type, made["a"].id, made["a"].reference) == ("kind", "id7", "${{OO_CREDENTIAL:kind,name,id7}}")
    assert made["b"] == 1
    plain = {"b": 1}
    assert with_credentials(plain) is plain
