from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from asyncblock.preview.urls import data_url

from .showing import picture, show

RGB = np.arange(48 * 40 * 3, dtype="uint8").reshape(48, 40, 3)

PICTURES: dict[str, tuple[Any, str, tuple[int, int]]] = {
    "colours": (RGB, "RGB", (40, 48)),
    "with alpha": (np.zeros((2, 3, 4), "uint8"), "RGBA", (3, 2)),
    "grey": (np.zeros((32, 64), "uint8"), "L", (64, 32)),
    "one pixel": (np.zeros((1, 1, 3), "uint8"), "RGB", (1, 1)),
    "from 0 to 1": (np.array([[[0.0, 1.0, np.nan], [0.5, 2.0, -1.0]]]), "RGB", (2, 1)),
    "yes and no": (np.ones((2, 2, 3), bool), "RGB", (2, 2)),
    "not in a row": (RGB[::2, ::-1], "RGB", (40, 24)),
}


@pytest.mark.parametrize(("array", "mode", "size"), PICTURES.values(), ids=PICTURES)
def test_an_array_that_is_a_picture_becomes_an_image(array: Any, mode: str, size: tuple[int, int]) -> None:
    made = show(array)
    assert made["type"] == "image"
    image = picture(made["data"])
    assert (image.mode, image.size) == (mode, size)


def test_the_pixels_are_the_arrays() -> None:
    assert np.array_equal(np.asarray(picture(show(RGB)["data"])), RGB)
    floats = np.asarray(picture(show(PICTURES["from 0 to 1"][0])["data"]))
    assert floats.tolist() == [[[0, 255, 0], [128, 255, 0]]]


def test_a_large_array_is_made_smaller_before_it_is_encoded() -> None:
    # Hundred thousand pixels squared, of one byte of memory.
    bomb = np.broadcast_to(np.zeros((1, 1, 3), "uint8"), (100_000, 100_000, 3))
    width, height = picture(show(bomb, pixels=10_000)["data"]).size
    assert (width, height) == (100, 100)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((2, 2, 2, 2)), "array of 2 x 2 x 2 x 2, float64; it begins with [[0.0, 0.0], [0.0, 0.0]]"),
        (np.zeros((0, 2, 2)), "array of 0 x 2 x 2, float64"),
        (np.zeros((0, 5, 3), "uint8"), "array of 0 x 5 x 3, uint8"),
    ],
)
def test_an_array_that_is_neither_table_nor_picture_says_what_it_is(array: Any, text: str) -> None:
    assert show(array) == {"type": "text", "data": text}


def test_an_array_without_dimensions_is_its_value() -> None:
    assert show(np.array(3)) == {"type": "json", "data": 3}


def test_a_moment_without_dimensions_is_its_text() -> None:
    assert show(np.array("2024-05-01", "datetime64[ns]"))["data"] == "2024-05-01T00:00:00.000000000"


def test_what_is_masked_is_black() -> None:
    array = np.ma.MaskedArray(np.full((2, 2, 3), 200, "uint8"), mask=np.eye(2, dtype=bool)[..., None].repeat(3, 2))
    assert np.asarray(picture(show(array)["data"]))[..., 0].tolist() == [[0, 200], [200, 0]]


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (7, 500), (40, 40), (3, 2)])
def test_there_are_never_more_pixels_than_the_limit(size: tuple[int, int]) -> None:
    for made in (show(np.zeros((*size, 3), "uint8"), pixels=100), show(Image.new("P", size), pixels=100)):
        width, height = picture(made["data"]).size
        assert 25 <= width * height <= 100 or (width, height) in (size, size[::-1])


@pytest.mark.parametrize(
    ("values", "kind"), [([0, 32768, 65535], "uint16"), ([-5, 0, 5], "int32"), ([0, 0.5, 1], "float32")]
)
def test_grey_of_more_bits_goes_from_black_to_white(values: list[float], kind: str) -> None:
    shown = picture(show(Image.fromarray(np.array([values], kind)))["data"])
    assert np.asarray(shown).tolist() == [[0, 127, 255]]


def test_a_picture_without_pixels_says_so() -> None:
    assert show(Image.new("RGB", (0, 5))) == {"type": "text", "data": "a picture of 0 x 5 pixels"}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "YCbCr"])
@pytest.mark.parametrize("size", [(1, 1), (60, 40)])
def test_a_pillow_image_becomes_an_image(mode: str, size: tuple[int, int]) -> None:
    made = show(Image.new(mode, size))
    assert picture(made["data"]).size == size
    assert show({"type": "image", "data": Image.new(mode, size)}) == made


def test_the_pixels_are_the_images() -> None:
    image = Image.fromarray(RGB)
    assert np.array_equal(np.asarray(picture(show(image)["data"])), RGB)


def test_a_large_image_is_made_smaller() -> None:
    assert picture(show(Image.new("RGB", (600, 400)), pixels=2400)["data"]).size == (60, 40)
    assert picture(show(Image.new("P", (600, 400)), pixels=2400)["data"]).size == (60, 40)


class Bomb(Image.Image):
    """A file that would decode to 30 GB."""

    @property
    def size(self) -> tuple[int, int]:
        return (100_000, 100_000)

    def load(self) -> Any:
        raise AssertionError("decoded")


def test_of_an_image_that_is_too_large_only_the_size_is_looked_at() -> None:
    text = "a picture of 100,000 x 100,000 pixels; the limit is 64,000,000 pixels"
    assert show(Bomb()) == {"type": "text", "data": text}


def test_a_data_url_is_whole_across_its_steps() -> None:
    from base64 import b64decode

    data = bytes(range(256)) * 3000
    assert b64decode(data_url(data).partition(",")[2]) == data


def _seen_through(mode: str, nothing: Any) -> Any:
    image = Image.new(mode, (4, 3))
    image.info["transparency"] = nothing
    return image


@pytest.mark.parametrize(("mode", "nothing"), [("P", 0), ("L", 0), ("RGB", (0, 0, 0))])
def test_what_is_transparent_stays_so(mode: str, nothing: Any) -> None:
    shown = picture(show(_seen_through(mode, nothing))["data"])
    assert (shown.mode, shown.getpixel((0, 0))[3]) == ("RGBA", 0)


def test_colours_of_every_kind_are_shown() -> None:
    red = Image.new("RGB", (4, 3), "red")
    for mode in ("CMYK", "YCbCr", "HSV"):
        pixel = picture(show(red.convert(mode))["data"]).convert("RGB").getpixel((0, 0))
        assert pixel[0] > 240 and max(pixel[1:]) < 15, (mode, pixel)
    white = picture(show(Image.new("LAB", (4, 3), (255, 128, 128)))["data"]).getpixel((0, 0))
    assert min(white) > 240
    assert picture(show(Image.new("LA", (4, 3), (200, 128)).convert("La"))["data"]).mode == "RGBA"
