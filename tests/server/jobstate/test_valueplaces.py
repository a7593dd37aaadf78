"""Places of var values, however they follow each other, and what they take."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncblock.server.jobstate.valueplaces import Place, PlaceRun, ValuePlaces


class Value:
    """A value that knows where it stands."""

    def __init__(self) -> None:
        self.places: list[PlaceRun] = []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2), st.sampled_from("ab")), max_size=60))
def test_each_place_has_its_value_until_that_is_removed(steps: list[tuple[int, int, int, str]]) -> None:
    """Steps: which value, at how many records further, in how many lines further, and by which handle."""
    values = [Value() for _ in range(3)]
    places, model = ValuePlaces[Value](), dict[Place, Value]()
    row, line, index = 5, 0, -1
    for which, records, lines, handle in steps:
        line, index = line + lines // 2, (-1 if lines // 2 else index) + records
        place = (row, line, max(index, 0), handle)
        if which == 3:
            places.remove(values[0])
            model = {at: value for at, value in model.items() if value is not values[0]}
            values[0] = Value()
            continue
        places.note(place, values[which])
        model.setdefault(place, values[which])
        again = ValuePlaces[Value]()
        for value in values:
            again.add([PlaceRun.from_json(run.to_json()) for run in value.places], value)
        for line_ in range(line + 1):
            for at in ((row, line_, n, name) for n in range(index + 3) for name in "ab"):
                assert places.get(at) is model.get(at) is again.get(at)
    assert len(places) == sum(len(value.places) for value in values) <= len(model)
    for value in values:
        places.remove(value)
    assert len(places) == 0 and not any(places.get(at) for at in model)


def test_one_value_again_and_again_is_one_run() -> None:
    value, other, places = Value(), Value(), ValuePlaces[Value]()
    for n in range(1000):
        places.note((1, 0, n, "out"), value)
    places.note((1, 0, 1000, "out"), other)
    assert value.places == [PlaceRun(1, 0, 0, "out", 1000)]
    assert (places.get((1, 0, 999, "out")), places.get((1, 0, 1000, "out"))) == (value, other)


def test_a_single_place_is_written_as_it_always_was() -> None:
    assert PlaceRun(7, 1, 2, "v", 3).to_json() == [7, 1, 2, "v"]
    assert PlaceRun.from_json([7, 1, 2, "v"]) == PlaceRun(7, 1, 2, "v", 3)
