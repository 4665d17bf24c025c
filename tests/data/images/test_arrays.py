"""Arrays given as images: what is accepted, what it becomes, and what is said of all else."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cogkp.data.images import as_image, read_colour, read_grey, read_image, to_colour, to_grey
from cogkp.errors import ImageError
from tests.builders.keypoint_model import scene

RGB = scene(0, (7, 5))
shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 4]))


def same(found, wanted):
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_array_is_taken_as_its_file_is(tmp_path, dtype, channels):
    """Bit for bit: what training reads from a file is what a model makes of the pixels."""
    rng = np.random.default_rng(channels)
    stored = rng.integers(0, np.iinfo(dtype).max + 1, (9, 11, channels)).astype(dtype)
    path = tmp_path / "image.png"
    assert cv2.imwrite(str(path), stored)
    given = stored[..., 0] if channels == 1 else stored
    image = as_image(given, bgr=True)
    same(image, read_image(path))
    same(to_grey(image), read_grey(path))
    same(to_colour(image), read_colour(path))


@given(hnp.arrays(np.uint8, shapes))
def test_colours_come_in_the_order_that_is_told(image):
    channels = image.shape[2]
    backwards = image if channels == 1 else image[..., [2, 1, 0, 3][:channels]]
    same(as_image(image), as_image(backwards, bgr=True))
    same(as_image(image), image[..., 0] if channels == 1 else image[..., :3])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_mean_what_bytes_mean(dtype):
    grey = to_grey(as_image((RGB / 255).astype(dtype)))
    assert np.allclose(grey, to_grey(as_image(RGB)), atol=1e-3 if dtype == np.float16 else 1e-6)
    assert as_image((RGB / 255).astype(dtype)).dtype == np.float32


def test_white_can_be_told():
    twelve_bits = RGB.astype(np.uint16) * 16
    assert np.allclose(as_image(twelve_bits, max_value=255 * 16), RGB / np.float32(255), atol=1e-7)
    assert np.allclose(as_image(RGB.astype(np.float32), max_value=255), RGB / np.float32(255), atol=1e-7)
    assert as_image(RGB.astype(">u2"), max_value=255).dtype == np.float32


def test_white_may_be_overshot_a_little_and_no_more():
    edge = np.array([[-0.0009, 1.0009]], np.float32)
    assert np.array_equal(as_image(edge), edge)
    for beyond in (np.array([[-0.002, 0.5]]), np.array([[0.0, 1.002]])):
        with pytest.raises(ImageError, match=r"out of range @ image: expected 0\.\.1, got .*max_value"):
            as_image(beyond)
    with pytest.raises(ImageError, match=r"out of range @ image: expected 0\.\.254, got 0\.\.255$"):
        as_image(np.array([[0, 255]], np.uint8), max_value=254)


@pytest.mark.parametrize(
    "strange",
    [RGB[::-1, ::-1], RGB[:, ::2], np.asfortranarray(RGB), np.broadcast_to(RGB[:1, :1], RGB.shape), RGB[..., ::-1]],
    ids=["negative strides", "every second", "Fortran order", "broadcast", "channels backwards"],
)
def test_memory_may_lie_anyhow(strange):
    before = strange.copy()
    before.flags.writeable = False
    same(as_image(strange), before)
    same(as_image(strange, bgr=True), before[..., ::-1])
    same(as_image(before), before)
    same(strange, before)


def test_big_endian_pixels_are_read():
    same(as_image(RGB.astype(">u2")), RGB.astype(np.uint16))
    assert np.allclose(as_image((RGB / 255).astype(">f4")), RGB / 255)


def test_nothing_is_copied_or_written_that_need_not_be():
    image = np.zeros((4, 4), np.float32)
    assert np.shares_memory(as_image(image), image)
    assert np.shares_memory(to_grey(image), image)
    colours = np.zeros((4, 4, 3), np.float32)
    assert np.shares_memory(to_colour(as_image(colours)), colours)
    assert np.shares_memory(as_image(RGB), RGB)


WRONG = {
    "no array": ([[0, 1]], "not an image @ x: expected a NumPy array or a path, got list"),
    "nothing": (None, "not an image @ x: expected a NumPy array or a path, got NoneType"),
    "one axis": (np.zeros(4), r"wrong shape @ x: expected \(H, W\), \(H, W, 3\) or \(H, W, 4\), got \(4,\)$"),
    "two channels": (np.zeros((8, 8, 2)), r"wrong shape .* got \(8, 8, 2\)$"),
    "five channels": (np.zeros((8, 8, 5)), r"wrong shape .* got \(8, 8, 5\)$"),
    "channels first": (np.zeros((3, 8, 8)), r"got \(3, 8, 8\)\. Channels come last: image\.transpose\(1, 2, 0\)"),
    "a batch": (np.zeros((2, 8, 8, 3)), r"got \(2, 8, 8, 3\)\. Give several images as a list: list\(images\)"),
    "no pixels": (np.zeros((0, 4)), "no pixels @ x: .*got 4 x 0 pixels"),
    "100 megapixels": (np.broadcast_to(np.uint8(0), (10_000, 10_000)), "too large @ x: expected at most 64 megapixels"),
    "bool": (np.zeros((4, 4), bool), "cannot be used @ x: expected uint8, uint16 or float, got bool.*astype"),
    "int64": (np.zeros((4, 4), np.int64), "got int64"),
    "object": (np.zeros((4, 4), object), "got object"),
    "complex": (np.zeros((4, 4), complex), "got complex128"),
    "text": (np.zeros((4, 4), "U1"), "got <U1"),
    "dates": (np.zeros((4, 4), "M8[s]"), "got datetime64"),
    "NaN": (np.array([[0.0, np.nan]]), "values that are no numbers @ x: expected finite values, got NaN"),
    "infinity": (np.array([[0.0, np.inf]]), "expected finite values, got infinity"),
    "both infinities": (np.array([[-np.inf, np.inf]]), "expected finite values, got infinity"),
    "bytes as floats": (np.array([[0.0, 255.0]]), r"expected 0\.\.1, got 0\.\.255\. Say which value is white"),
}


@pytest.mark.parametrize(("image", "said"), WRONG.values(), ids=WRONG)
def test_what_is_no_image_is_refused_in_one_line(image, said):
    with pytest.raises(ImageError, match=said) as caught:
        as_image(image, where="x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("white", [0, -1.0, np.nan, np.inf, 10**400])
def test_white_is_a_positive_number(white):
    with pytest.raises(ImageError, match="max_value cannot stand for white @ image: expected a number > 0"):
        as_image(RGB, max_value=white)
