"""A picture that hangs, crashes or overloads its decoder is refused, and no other picture is affected."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.errors import BadPicture, StoreError
from datagen.imaging import decoder_sandbox
from datagen.imaging.codec import decode
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.imaging.png_encoder import encode_png
from stage.processes import born, wait_until

SMALL = encode_png(np.full((20, 30), 90, np.uint8))

#: Decoder processes whose behaviour the text of a file chooses.
FAULTS = """
import os, time
import numpy as np
from datagen.errors import BadPicture

def decode(data, *, max_bytes, max_pixels):
    match data:
        case b"huge":
            class Huge:
                shape, ndim, dtype = (10**6, 10**6, 3), 3, "uint8"
            return Huge()
        case b"float":
            return np.zeros((7, 9))
        case b"words":
            raise BadPicture("x" * 2**20)
        case b"hang":
            time.sleep(1000)
        case b"spin":
            while True:
                pass
        case b"eat":
            return np.ones((2**31,), np.uint8)
        case b"eat slowly":
            eaten = []
            while True:
                eaten.append(np.ones((2**20,), np.uint8))
        case b"crash":
            os.abort()
        case b"write":
            with open(WHERE, "wb") as file:
                file.write(b"x")
        case b"secrets":
            raise BadPicture(f"{len(os.environ)} variables: {' '.join(os.environ)}")
        case b"huge answer":
            os.write(0, (2**62).to_bytes(8, "big"))
        case b"deep answer":
            os.write(0, (60_000).to_bytes(8, "big") + b"[" * 60_000)
        case b"wrong answer":
            os.write(0, (40).to_bytes(8, "big") + b'{"width": "x", "height": -3, "more": 10}')
        case b"half of the pixels":
            answer = b'{"width": 100, "height": 100, "channels": 3, "type": "uint8"}'
            os.write(0, len(answer).to_bytes(8, "big") + answer + b"x" * 1000)
            time.sleep(1000)
        case b"drip":
            os.write(0, (60_000).to_bytes(8, "big"))
            while True:
                os.write(0, b" ")
                time.sleep(0.05)
        case b"chatter":
            os.write(2, b"words of a file\\n")
            os.write(1, b"words of a file\\n")
    return np.zeros((7, 9), np.uint8)
"""


@pytest.fixture(scope="module")
def decoder() -> Iterator[DecoderSandbox]:
    """A decoder without faults, whose process decodes the pictures of many tests, as it does those of many studies."""
    decoder = DecoderSandbox(max_bytes=10**6, max_pixels=10**6)
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the module ``faults``; the file that its "write" would write is ``written`` in it."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "faults.py").write_text(FAULTS.replace("WHERE", repr(str(folder / "written"))))
    return folder


@pytest.fixture
def _finds_faults(faults: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{faults}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def with_faults(**bounds: float) -> DecoderSandbox:
    return DecoderSandbox(**{"max_bytes": 10**6, "max_pixels": 10**6, "decoder": "faults:decode"} | bounds)  # type: ignore[arg-type]


@pytest.fixture
def new(_finds_faults: None) -> Iterator[DecoderSandbox]:
    """A decoder with faults whose process is started by the test."""
    decoder = with_faults()
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def _kept() -> Iterator[dict[str, DecoderSandbox]]:
    decoders = {
        "faulty": with_faults(),
        "impatient": with_faults(wall_seconds=0.5),
        "tight": with_faults(memory_bytes=100 * 2**20),
    }
    yield decoders
    for decoder in decoders.values():
        decoder.close()


@pytest.fixture
def faulty(_finds_faults: None, _kept: dict[str, DecoderSandbox]) -> DecoderSandbox:
    """A decoder with faults that tests share. After a fault, its new process decodes the next test's picture."""
    return _kept["faulty"]


@pytest.fixture
def impatient(_finds_faults: None, _kept: dict[str, DecoderSandbox]) -> DecoderSandbox:
    """The same with a time limit of half a second for a picture."""
    return _kept["impatient"]


@pytest.fixture
def tight(_finds_faults: None, _kept: dict[str, DecoderSandbox]) -> DecoderSandbox:
    """The same, with 100 MiB of memory for a picture."""
    return _kept["tight"]


def child_of(decoder: DecoderSandbox) -> int:
    assert decoder._process is not None
    return decoder._process._popen.pid


def test_the_size_is_the_upright_pictures(decoder: DecoderSandbox) -> None:
    assert decoder.size_of(SMALL) == (30, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = io.BytesIO()
    Image.new("L", (30, 20)).save(lying, "JPEG", exif=exif)
    assert decoder.size_of(lying.getvalue()) == (20, 30)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the file is empty"),
        (SMALL[:-30], "truncated or damaged"),
        (b"%PDF-1.7", "a PDF document"),
        (b"x" * (10**6 + 1), "the file has 1,000,001 bytes, at most 1,000,000"),
        (encode_png(np.zeros((1001, 1000), np.uint8)), "1,000 by 1,001 pixels, at most 1,000,000"),
    ],
    ids=["empty", "damaged", "pdf", "bytes", "pixels"],
)
def test_refusal_of_the_sandbox_is_that_of_decoding_in_place(
    data: bytes, sentence: str, decoder: DecoderSandbox
) -> None:
    with pytest.raises(BadPicture, match=sentence):
        decoder.size_of(data)
    assert decoder.size_of(SMALL) == (30, 20)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_decoded_pixels_are_those_of_decoding_in_this_process(mode: str, kind: str, decoder: DecoderSandbox) -> None:
    shape = (40, 60) if mode == "L" else (40, 60, 3)
    saved = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 256, shape, np.uint8)).save(saved, kind)
    expected = decode(saved.getvalue(), max_bytes=10**6, max_pixels=10**6)
    pixels = decoder.decode(saved.getvalue())
    np.testing.assert_array_equal(pixels, expected)
    assert (pixels.dtype, pixels.shape) == (expected.dtype, expected.shape)
    assert pixels.flags.c_contiguous
    assert not pixels.flags.writeable


def test_sixteen_bits_are_decoded_as_sixteen_bits(decoder: DecoderSandbox) -> None:
    deep = np.random.default_rng(4).integers(0, 2**16, (30, 20, 3), np.uint16)
    np.testing.assert_array_equal(decoder.decode(encode_png(deep)), deep)


@pytest.mark.parametrize("data", [b"hang", b"crash", b"huge", b"float"])
def test_pixels_that_cannot_be_had_are_a_sentence_and_the_next_picture_is_decoded(
    data: bytes, impatient: DecoderSandbox
) -> None:
    with pytest.raises(BadPicture, match=r"took more than|broke down"):
        impatient.decode(data)
    np.testing.assert_array_equal(impatient.decode(b"good"), np.zeros((7, 9), np.uint8))


def test_a_long_sentence_of_the_decoder_is_not_believed(faulty: DecoderSandbox) -> None:
    with pytest.raises(BadPicture, match="broke down"):
        faulty.size_of(b"words")
    assert faulty.size_of(b"good") == (9, 7)


def test_the_largest_allowed_picture_fits_its_memory() -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, (10, 1000, 3), np.uint16)
    largest = encode_png(np.tile(noise, (100, 1, 1)))
    roomy = DecoderSandbox(max_bytes=10**8, max_pixels=10**6)
    assert roomy.size_of(largest) == (1000, 1000)
    roomy.close()


def test_a_small_picture_costs_little_once_warm(decoder: DecoderSandbox) -> None:
    decoder.size_of(SMALL)
    took = []
    for _ in range(200):
        began = time.perf_counter()
        decoder.size_of(SMALL)
        took.append(time.perf_counter() - began)
    assert sorted(took)[len(took) // 4] < 0.001  # what is free of the machine's other work


def test_a_picture_that_hangs_is_given_up_and_the_next_one_is_decoded(impatient: DecoderSandbox) -> None:
    with pytest.raises(BadPicture, match="took more than"):
        impatient.size_of(b"hang")
    assert impatient.size_of(b"good") == (9, 7)


@pytest.mark.usefixtures("_finds_faults")
def test_a_picture_that_spins_is_ended_by_its_processor_time() -> None:
    decoder = with_faults(cpu_seconds=1)
    with pytest.raises(BadPicture, match="took more than 1 s"):
        decoder.size_of(b"spin")
    assert decoder.size_of(b"good") == (9, 7)
    decoder.close()


@pytest.mark.parametrize("how", [b"eat", b"eat slowly"])
def test_a_picture_that_eats_memory_is_refused_within_its_share(how: bytes, tight: DecoderSandbox) -> None:
    with pytest.raises(BadPicture, match="takes more than 100 MiB"):
        tight.size_of(how)
    assert tight.size_of(b"good") == (9, 7)


def test_a_picture_that_crashes_the_decoder_is_named_as_the_fault(faulty: DecoderSandbox) -> None:
    with pytest.raises(BadPicture, match="the decoder broke down over the picture"):
        faulty.size_of(b"crash")
    assert faulty.size_of(b"good") == (9, 7)


def test_process_that_is_ended_from_outside_is_not_the_pictures_fault(faulty: DecoderSandbox) -> None:
    assert faulty.size_of(b"good") == (9, 7)
    first = child_of(faulty)
    os.kill(first, signal.SIGKILL)
    assert faulty.size_of(b"good") == (9, 7)
    assert child_of(faulty) != first


def test_a_picture_can_write_nothing(faulty: DecoderSandbox, faults: Path) -> None:
    with pytest.raises(BadPicture, match="broke down"):
        faulty.size_of(b"write")
    assert not (faults / "written").exists()


def test_decoder_process_has_an_empty_environment(new: DecoderSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a" * 40)
    monkeypatch.setenv("DATAGEN_DATABASE_URL", "postgresql://user:password@host/db")
    with pytest.raises(BadPicture) as caught:
        new.size_of(b"secrets")
    assert str(caught.value) == "0 variables: "


def test_pixels_that_stop_halfway_are_given_up(impatient: DecoderSandbox) -> None:
    with pytest.raises(BadPicture, match="took more than"):
        impatient.decode(b"half of the pixels")
    np.testing.assert_array_equal(impatient.decode(b"good"), np.zeros((7, 9), np.uint8))


@pytest.mark.parametrize("answer", [b"huge answer", b"deep answer", b"wrong answer"])
def test_answer_that_is_not_an_answer_is_refused_without_taking_memory(answer: bytes, faulty: DecoderSandbox) -> None:
    with pytest.raises(BadPicture, match="broke down"):
        faulty.size_of(answer)
    assert faulty.size_of(b"good") == (9, 7)


def test_answer_that_drips_is_given_up(impatient: DecoderSandbox) -> None:
    with pytest.raises(BadPicture, match="took more than"):
        impatient.size_of(b"drip")
    assert impatient.size_of(b"good") == (9, 7)


def test_process_that_used_its_share_is_replaced(new: DecoderSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_sandbox, "SHARES_A_PROCESS", 0)
    new.missing_containment()
    first = child_of(new)
    assert new.size_of(b"good") == (9, 7)
    assert child_of(new) != first


def test_output_of_a_decoder_does_not_reach_the_log(new: DecoderSandbox, capfd: pytest.CaptureFixture[str]) -> None:
    new.size_of(b"chatter")
    assert capfd.readouterr() == ("", "")


def test_many_threads_may_ask_at_once(decoder: DecoderSandbox) -> None:
    pictures = [encode_png(np.zeros((1 + n, 40 + n), np.uint8)) for n in range(40)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(decoder.size_of, pictures)) == [(40 + n, 1 + n) for n in range(40)]


def test_closing_ends_the_process_and_the_next_picture_starts_another(decoder: DecoderSandbox) -> None:
    decoder.size_of(SMALL)
    child = child_of(decoder)
    decoder.close()
    assert born(child) is None
    assert decoder.size_of(SMALL) == (30, 20)


def test_it_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    program = """
        import os, signal, sys
        from datagen.imaging.decoder_sandbox import DecoderSandbox
        decoder = DecoderSandbox(max_bytes=10**6, max_pixels=10**6)
        decoder.size_of(bytes.fromhex(sys.argv[1]))
        print(decoder._process._popen.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    caught = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), SMALL.hex()], capture_output=True, text=True, check=False
    )
    assert caught.returncode == -signal.SIGKILL
    wait_until(lambda: born(int(caught.stdout)) is None, 10, "the end of the decoding process")


def test_decoder_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not start"):
        DecoderSandbox(max_bytes=10, max_pixels=10, decoder="no_such_module:decode").size_of(b"x")
