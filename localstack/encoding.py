"""Content-Encoding of request bodies: none, gzip, zstd, with a limit on what they unpack to."""

from __future__ import annotations

import io
import zlib


class BodyTooLarge(Exception):
    """The body is larger than allowed, before or after unpacking."""


class BodyMalformed(Exception):
    """The body is not what its Content-Encoding says, or the encoding is not one of these."""


def decode(body: bytes, encoding: str, limit: int) -> bytes:
    """Unpack a body of at most ``limit`` bytes. Raises BodyTooLarge or BodyMalformed."""
    encoding = encoding.strip().lower()
    if len(body) > limit:
        raise BodyTooLarge
    if encoding in ("", "identity"):
        return body
    if encoding == "gzip":
        return _gunzip(body, limit)
    if encoding in ("zstd", "zst"):
        return _unzstd(body, limit)
    raise BodyMalformed(f"Content-Encoding {encoding!r} is not gzip or zstd")


def _gunzip(body: bytes, limit: int) -> bytes:
    parts = []
    left = limit + 1
    while body:
        # 16 + MAX_WBITS: a gzip header; several members may follow each other.
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            part = unpacker.decompress(body, left)
        except zlib.error as error:
            raise BodyMalformed(str(error)) from None
        parts.append(part)
        left -= len(part)
        if left <= 0:
            raise BodyTooLarge
        if not unpacker.eof:
            raise BodyMalformed("the gzip stream ends early")
        body = unpacker.unused_data
    return b"".join(parts)


def _unzstd(body: bytes, limit: int) -> bytes:
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(io.BytesIO(body), read_across_frames=True)
    try:
        unpacked = reader.read(limit + 1)
        # A frame that is cut ends without an error; only one that declares its size can be held to it.
        size = zstandard.frame_content_size(body)
    except zstandard.ZstdError as error:
        raise BodyMalformed(str(error)) from None
    if len(unpacked) > limit:
        raise BodyTooLarge
    if size > len(unpacked) or (body and not unpacked and size != 0):
        raise BodyMalformed("the zstd stream ends early")
    return bytes(unpacked)
