"""The YAML reference is the table that ``asyncblock flows`` prints, and what is written in it is YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from asyncblock.flow.featurepage import reference_page
from asyncblock.flow.features import FEATURES, GROUPS, Feature

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_made_of_the_table() -> None:
    written = (ROOT / "docs" / "yaml.md").read_text("utf-8")
    assert written == reference_page(), "asyncblock flows --reference > docs/yaml.md"
    assert all(f"| {each.name} | {each.state} |" in written for each in FEATURES)
    assert all(rows for _, rows in GROUPS)


@pytest.mark.parametrize("feature", [each for each in FEATURES if each.yaml], ids=lambda each: each.name)
def test_what_is_written_is_one_mapping(feature: Feature) -> None:
    read = yaml.safe_load(feature.yaml)
    assert isinstance(read, dict) and len(read) == 1
    assert not ("`" in feature.yaml or "|" in feature.yaml)
