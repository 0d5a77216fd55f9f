"""Pickled files as they look from outside: nothing in them is run."""

from pathlib import Path

from skyfan.errors import ModelError


def is_pickled(path: Path) -> bool:
    """Return whether a file is a pickle or a zip, as torch.save writes them; nothing in it is run."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(9)
    is_safetensors = head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    return not is_safetensors and (head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and head[1:2] <= b"\x05"))


def refuse_pickled(path: Path) -> None:
    """Refuse a pickled file of whom nobody said that it is trusted.

    Raises
    ------
    ModelError
        It is one.
    """
    if is_pickled(path):
        raise ModelError(
            f"{path} is a pickle, as torch.save writes it: loading it runs code that is in it; expected a checkpoint "
            "of 'skyfan train' (safetensors) - if you trust who made it, give --trust-pickle, and --code FOLDER with "
            "the network's own code"
        )
