"""What goes through the pipes between the local engine and its workers."""

import os
import struct

_HEADER = struct.Struct("<IIQ")


def write_frame(descriptor: int, number: int, note: int, data: bytes) -> None:
    """Write one message: an item's number, its attempt (to a worker) or status (from it), and its bytes."""
    message = memoryview(_HEADER.pack(number, note, len(data)) + data)
    while message:
        message = message[os.write(descriptor, message) :]


def read_frame(descriptor: int) -> tuple[int, int, bytes] | None:
    """Read one message; None if the other side is gone, be it in the middle of one."""
    header = _read(descriptor, _HEADER.size)
    if header is None:
        return None
    number, note, size = _HEADER.unpack(header)
    data = _read(descriptor, size)
    return None if data is None else (number, note, data)


def _read(descriptor: int, size: int) -> bytes | None:
    pieces = bytearray()
    while len(pieces) < size:
        piece = os.read(descriptor, min(size - len(pieces), 1 << 20))
        if not piece:
            return None
        pieces += piece
    return bytes(pieces)
