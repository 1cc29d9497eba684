import io
import os
import random
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from helpers import noise, saved
from PIL import Image, ImageFile, ImageOps

from embedkit import images
from embedkit.errors import UnreadableImageError
from embedkit.images import (
    array_pixels,
    decode,
    mirrored_hash,
    perceptual_hash,
    read_bytes,
    strict_pillow,
)


def gradient(width: int = 60, height: int = 40) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("AVIF", {"quality": 100}),
        ("JPEG2000", {}),
        ("PPM", {}),
    ],
)
def test_every_format_comes_out_as_upright_rgb(format_, options):
    picture = decode(saved(gradient(), format_, **options))
    assert picture.pixels.shape == (40, 60, 3)
    assert picture.pixels.dtype == np.uint8
    assert picture.facts.format == format_
    error = np.abs(picture.pixels.astype(int) - np.asarray(gradient()).astype(int)).mean()
    assert error < (25 if format_ == "GIF" else 4)  # a GIF has 256 colours


def test_sixteen_bits_are_scaled_and_not_clipped():
    deep = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    for format_ in ("PNG", "TIFF"):
        pixels = decode(saved(Image.fromarray(deep), format_)).pixels
        assert pixels.mean() == pytest.approx(127.5, abs=1)
        assert pixels[0, 0].tolist() == [0, 0, 0]
        assert pixels[-1, -1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("low", "high", "mean"),
    [(0, 1, 127.5), (0, 255, 127.5), (0, 4000, 2000 / 257), (-3, 5, 127.5), (0, 1e6, 127.5)],
)
def test_floats_are_scaled_by_the_range_that_holds_them(low, high, mean):
    values = np.linspace(low, high, 32 * 32).reshape(32, 32).astype(np.float32)
    pixels = decode(saved(Image.fromarray(values), "TIFF")).pixels
    assert pixels.mean() == pytest.approx(mean, abs=1)


def test_a_float_that_is_no_number_is_refused():
    values = np.ones((8, 8), np.float32)
    values[3, 3] = np.nan
    with pytest.raises(UnreadableImageError, match="not finite"):
        decode(saved(Image.fromarray(values), "TIFF"))


def test_cmyk_keeps_its_colours():
    red = Image.new("RGB", (16, 16), (200, 30, 40))
    pixels = decode(saved(red.convert("CMYK"), "JPEG", quality=95)).pixels
    assert np.abs(pixels.mean(axis=(0, 1)) - (200, 30, 40)).max() < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_composed_over_white(mode):
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (0, 0, 4, 8))
    if mode == "P":
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([255, 0, 0, 0, 0, 255] + [0] * 762)
        palette.paste(0, (4, 0, 8, 8))
        data = saved(palette, "PNG", transparency=0)
    else:
        data = saved(clear.convert(mode), "PNG")
    pixels = decode(data).pixels
    assert pixels[0, 6].tolist() == [255, 255, 255]  # not the hidden red
    assert pixels[0, 1].mean() < 200


def test_a_picture_without_anything_visible_is_refused():
    with pytest.raises(UnreadableImageError, match="transparent"):
        decode(saved(Image.new("RGBA", (8, 8), (9, 9, 9, 0)), "PNG"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_eight_orientations_come_out_as_one_upright_picture(format_, orientation):
    upright = gradient(48, 32)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    turned = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}
    picture = decode(saved(turned, format_, exif=exif, **options.get(format_, {})))
    assert picture.pixels.shape == (32, 48, 3)
    assert picture.facts.orientation == orientation
    assert (picture.facts.width, picture.facts.height) == (48, 32)
    assert np.abs(picture.pixels.astype(int) - np.asarray(upright).astype(int)).max() <= 12


def test_of_an_animation_the_first_frame_is_taken_and_the_frames_are_counted():
    frames = [Image.new("RGB", (10, 10), colour) for colour in ("red", "green", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    picture = decode(data)
    assert picture.facts.frames == 3
    assert picture.pixels[5, 5].tolist() == [255, 0, 0]


def test_one_pixel_is_a_picture():
    assert decode(saved(Image.new("RGB", (1, 1), "red"), "PNG")).pixels.shape == (1, 1, 3)


def test_thirty_thousand_squared_is_refused_before_it_is_decoded():
    row = b"\0" + bytes(30000 // 8)
    header = (30000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + check

    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row * 30000))
        + chunk(b"IEND", b"")
    )
    started = time.process_time()
    with pytest.raises(UnreadableImageError, match="million"), strict_pillow():
        decode(data)
    assert time.process_time() - started < 2  # decoding it would take far longer


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused_with_a_reason(format_, share):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = saved(noise, format_)
    with pytest.raises(UnreadableImageError, match="damaged|not a picture"), strict_pillow():
        decode(data[: int(len(data) * share)])


def test_another_librarys_switch_does_not_turn_half_a_picture_grey(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = saved(gradient(200, 200), "JPEG")
    with pytest.raises(UnreadableImageError), strict_pillow():
        decode(data[: len(data) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # and is left as it was


def test_switches_that_threads_share_are_put_back_by_the_last(monkeypatch, figure):
    """Threads that read pictures come and go in any order; another library's switches are on."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    filters = list(warnings.filters)
    data = saved(gradient(200, 200), "JPEG")
    cut = data[: len(data) // 2]
    outcomes = []

    def read(seed):
        pauses = random.Random(seed)
        for _ in range(25):
            with strict_pillow():
                time.sleep(pauses.random() / 1000)
                try:
                    outcomes.append(decode(cut).facts.width)
                except UnreadableImageError:
                    outcomes.append("refused")

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["refused"] * 200
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, None)
    assert warnings.filters == filters
    figure(
        "C9",
        f"{outcomes.count('refused')} of {len(outcomes)} halves of a picture refused by 8 threads "
        "while another library's LOAD_TRUNCATED_IMAGES is on",
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"This is no picture.\n", "text"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "LFS"),
        (bytes(range(200, 256)) * 9, "unknown content"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
)
def test_what_is_no_picture_is_called_by_what_it_is(data, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        decode(data)


def test_flipped_bits_give_pixels_or_a_reason_and_never_another_error():
    generator = np.random.default_rng(0)
    seeds = [saved(gradient(), f) for f in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")]
    outcomes = {"pixels": 0, "reason": 0}
    with strict_pillow():
        for _ in range(600):
            data = bytearray(seeds[generator.integers(len(seeds))])
            for _ in range(int(generator.integers(1, 4))):
                data[generator.integers(len(data))] ^= 1 << int(generator.integers(8))
            try:
                decode(bytes(data))
                outcomes["pixels"] += 1
            except UnreadableImageError as error:
                assert str(error)
                outcomes["reason"] += 1
    assert min(outcomes.values()) > 20


def test_a_pipe_called_jpg_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    done = threading.Event()

    def read() -> None:
        with pytest.raises(UnreadableImageError, match="regular"):
            read_bytes(tmp_path / "x.jpg")
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert done.wait(5)


def test_files_that_cannot_be_read_say_why(tmp_path, monkeypatch):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    monkeypatch.setattr("embedkit.images.files.MAX_BYTES", 100)
    (tmp_path / "large.jpg").write_bytes(bytes(101))
    for name, reason in (
        ("empty.jpg", "0 bytes"),
        ("broken.jpg", "No such file"),
        ("large.jpg", "MiB"),
        (".", "regular"),
    ):
        with pytest.raises(UnreadableImageError, match=reason):
            read_bytes(tmp_path / name)


def test_a_reason_names_no_path_and_no_address():
    for data in (saved(noise(0), "PNG")[:200], saved(noise(0), "JPEG")[:200]):
        with pytest.raises(UnreadableImageError) as caught, strict_pillow():
            decode(data)
        assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    "array",
    [
        np.full((6, 4), 100, np.uint8),
        np.full((6, 4, 1), 100, np.uint8),
        np.full((6, 4, 3), 100, np.uint8),
        np.full((6, 4), 100 * 257, np.uint16),
        np.full((6, 4, 3), 100 / 255),
        np.full((6, 4), 100, np.int64),
        np.dstack([np.full((6, 4, 3), 100, np.uint8), np.full((6, 4), 255, np.uint8)]),
    ],
)
def test_arrays_of_every_kind_become_the_same_pixels(array):
    assert np.array_equal(array_pixels(array), np.full((6, 4, 3), 100, np.uint8))


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (2, 2, 2, 3), (0, 4)])
def test_an_array_of_another_shape_is_refused_with_its_shape(shape):
    with pytest.raises(UnreadableImageError, match="shape"):
        array_pixels(np.zeros(shape, np.uint8))


def test_equal_pixels_in_another_container_have_the_same_pixel_hash():
    png, bmp = decode(saved(gradient(), "PNG")), decode(saved(gradient(), "BMP"))
    assert png.facts.sha256 != bmp.facts.sha256
    assert png.facts.pixel_sha256 == bmp.facts.pixel_sha256


def test_pixels_of_another_shape_have_another_hash():
    flat = np.zeros((4, 6, 3), np.uint8)
    assert images.pixel_hash(flat) != images.pixel_hash(flat.reshape(6, 4, 3))


def face_like(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    small = Image.fromarray(generator.integers(0, 256, (9, 9, 3), np.uint8))
    return np.asarray(small.resize((120, 120), Image.Resampling.BICUBIC))


def distance(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def test_the_perceptual_hash_survives_what_happens_to_pictures_on_their_way():
    for seed in range(20):
        original = face_like(seed)
        image = Image.fromarray(original)
        copies = [
            Image.open(io.BytesIO(saved(image, "JPEG", quality=30))),
            image.resize((60, 60), Image.Resampling.BICUBIC),
            image.point(lambda v: int(v * 0.8 + 10)),
        ]
        for copy in copies:
            assert distance(perceptual_hash(original), perceptual_hash(np.asarray(copy))) <= 6
        assert distance(perceptual_hash(original), perceptual_hash(face_like(seed + 100))) > 12


def test_the_hash_of_a_mirrored_picture_is_known_without_it():
    for seed in range(10):
        original = face_like(seed)
        flipped = np.asarray(ImageOps.mirror(Image.fromarray(original)))
        expected = mirrored_hash(np.array([perceptual_hash(original)], np.uint64))[0]
        # Shrinking rounds to whole grey levels, which can turn the weakest frequencies.
        assert distance(int(expected), perceptual_hash(flipped)) <= 3


@pytest.mark.parametrize("given", [0, 9, 200, 65535])
def test_an_orientation_that_does_not_exist_is_upright(given):
    exif = Image.Exif()
    exif[0x0112] = given
    picture = decode(saved(Image.new("RGB", (20, 10)), "JPEG", exif=exif))
    assert picture.facts.orientation == 1
    assert picture.pixels.shape == (10, 20, 3)


def test_a_little_above_one_is_white_and_not_a_black_picture():
    values = np.linspace(0, 1.0001, 64 * 64).reshape(64, 64).astype(np.float32)
    assert decode(saved(Image.fromarray(values), "TIFF")).pixels.max() == 255
    assert array_pixels(values).mean() == pytest.approx(127.5, abs=1)


def test_the_order_of_an_arrays_bytes_does_not_matter():
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) % 255
    assert np.array_equal(array_pixels(values), array_pixels(values.astype(">u2")))


def test_numbers_too_large_to_be_scaled_are_refused():
    with pytest.raises(UnreadableImageError, match="too large"):
        array_pixels(np.array([[1.7e308, -1.7e308]]))


@pytest.mark.parametrize("size", [(10, 10), (64, 30), (65, 40), (20, 640)])
def test_a_shrunk_picture_fits_and_keeps_its_shape(size):
    pixels = np.asarray(noise(0).resize(size))
    small = images.shrunk(pixels, 64)
    assert max(small.shape[:2]) <= 64
    assert small.shape[0] / small.shape[1] == pytest.approx(size[1] / size[0], rel=0.5)
    assert (small is pixels) == (max(size) <= 64)
