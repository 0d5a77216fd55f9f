"""What a script prints: its beginning and its end are kept, whatever is between is counted."""

MAX_OUTPUT_BYTES = 1 << 20
_LINE_BYTES = 128
"""Room for the line between."""
_HALF_BYTES = (MAX_OUTPUT_BYTES - _LINE_BYTES) // 2


class Output:
    """The first and the last half of all that is added."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._added_bytes = 0

    def add(self, chunk: bytes) -> None:
        """Take what comes next."""
        self._added_bytes += len(chunk)
        room = _HALF_BYTES - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk[-_HALF_BYTES:]
        if len(self._tail) > 2 * _HALF_BYTES:  # not at every chunk: to cut is to copy
            del self._tail[:-_HALF_BYTES]

    def value(self) -> bytes:
        """Return at most `MAX_OUTPUT_BYTES`: all, or both halves with a line between that says what is left out."""
        tail = self._tail[-_HALF_BYTES:]
        left_out = self._added_bytes - len(self._head) - len(tail)
        if not left_out:
            return bytes(self._head + tail)
        return bytes(self._head) + f"\n... {left_out:,} bytes are left out here ...\n".encode() + bytes(tail)
