"""Frames to contact sheets and back, pixel by pixel."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.recording import sheets
from envs.registry import UsageError


def frames(count, height=5, width=7):
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("count", [1, 15, 17, 256, 259])
def test_a_decoded_sheet_holds_the_very_frames(count):
    images, encoded = frames(count), sheets.encode(frames(count))
    assert len(encoded) == (2 if count > 256 else 1)
    np.testing.assert_array_equal(sheets.decode(encoded, count, (5, 7)), np.stack(images))


def test_tiles_stand_in_rows_of_sixteen():
    images = frames(20)
    sheet = np.asarray(Image.open(io.BytesIO(sheets.encode(images)[0])).convert("RGB"))
    assert sheet.shape == (2 * 5, 16 * 7, 3)
    np.testing.assert_array_equal(sheet[5:10, 3 * 7 : 4 * 7], images[19])
    assert not sheet[5:, 4 * 7 :].any()


def test_a_lossy_sheet_is_smaller_and_alike():
    noise = frames(16, 32, 40)
    lossy, lossless = sheets.encode(noise, quality=60), sheets.encode(noise)
    assert len(lossy[0]) < len(lossless[0]) / 2
    back = sheets.decode(lossy, len(noise), (32, 40)).astype(int)
    assert 0 < np.abs(back - np.stack(noise)).mean() < 60


def test_flat_pictures_stay_lossless_where_that_is_smaller():
    flat = [np.full((7, 7, 3), shade, np.uint8) for shade in range(0, 240, 6)]
    assert sheets.encode(flat, quality=60) == sheets.encode(flat)


def test_frames_that_webp_cannot_hold_are_refused():
    with pytest.raises(UsageError, match="frames of 1100 x 2 pixels"):
        sheets.encode([np.zeros((2, 1100, 3), np.uint8)] * 16)
