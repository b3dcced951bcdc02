import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.unpack import PIECE_BYTES, Broken, TooMuch, UnknownEncoding, Unpacker


def unpacked(encoding, data, *, chunk=1000, max_bytes=1 << 20):
    unpacker = Unpacker(encoding, max_bytes=max_bytes)
    pieces = [piece for start in range(0, len(data), chunk) for piece in unpacker.feed(data[start : start + chunk])]
    unpacker.finish()
    return b"".join(pieces)


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@given(st.binary(max_size=5000), st.integers(1, 500))
def test_what_was_packed_comes_out_however_it_arrives(data, chunk):
    assert unpacked("", data, chunk=chunk) == data
    assert unpacked("identity", data, chunk=chunk) == data
    assert unpacked("GZIP", gzip.compress(data), chunk=chunk) == data
    assert unpacked("deflate", zlib.compress(data), chunk=chunk) == data
    assert unpacked("x-gzip, identity", gzip.compress(data), chunk=chunk) == data
    assert unpacked("deflate, gzip", gzip.compress(zlib.compress(data)), chunk=chunk) == data


def test_deflate_without_its_frame_is_read_as_browsers_do():
    assert unpacked("deflate", raw_deflate(b"hello " * 100)) == b"hello " * 100


def test_a_page_that_only_claims_to_be_packed_is_read_as_it_is():
    assert unpacked("gzip", b"<html>hello") == b"<html>hello"


def test_several_gzip_members_are_one_page_and_padding_is_none():
    assert unpacked("gzip", gzip.compress(b"a") + gzip.compress(b"b") + b"\0" * 50, chunk=7) == b"ab"


@pytest.mark.parametrize(
    "encoding", ["br", "zstd", "gzip, br", "compress", "\x00", "gzip, gzip, gzip", "gzip," * 500 + "gzip"]
)
def test_packing_that_was_not_asked_for_is_refused(encoding):
    with pytest.raises(UnknownEncoding):
        Unpacker(encoding, max_bytes=1000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_missing_end_is_noticed(encoding):
    packed = gzip.compress(b"hello " * 1000) if encoding == "gzip" else zlib.compress(b"hello " * 1000)
    with pytest.raises(Broken):
        unpacked(encoding, packed[:-9])


def test_damage_is_noticed():
    packed = bytearray(gzip.compress(bytes(range(256)) * 40))
    packed[100] ^= 0xFF
    with pytest.raises(Broken):
        unpacked("gzip", bytes(packed))


def test_an_empty_body_is_empty_however_it_claims_to_be_packed():
    assert unpacked("gzip", b"") == b""


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "gzip, gzip"])
def test_exactly_the_limit_fits_and_one_byte_more_does_not(encoding):
    def pack(data):
        for name in encoding.split(", "):
            data = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[name](data)
        return data

    assert len(unpacked(encoding, pack(b"a" * 200_000), max_bytes=200_000)) == 200_000
    with pytest.raises(TooMuch):
        unpacked(encoding, pack(b"a" * 200_001), max_bytes=200_000)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_is_stopped_and_never_held_in_memory(layers):
    bomb = gzip.compress(b"\0" * (200 << 20), 9)
    if layers == 2:
        bomb = gzip.compress(bomb, 9)
    unpacker = Unpacker(", ".join(["gzip"] * layers), max_bytes=1 << 20)
    sizes = []
    tracemalloc.start()
    with pytest.raises(TooMuch):
        sizes.extend(len(piece) for piece in unpacker.feed(bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sizes) == 1 << 20
    assert max(sizes) <= PIECE_BYTES
    assert peak < 2 << 20


def test_packing_that_goes_on_for_ever_and_holds_nothing_is_stopped():
    nothing = gzip.compress(b"") * 1000
    with pytest.raises(TooMuch):
        unpacked("gzip", nothing * 20, max_bytes=100_000, chunk=10_000)
