"""The certificate of a cluster of ours: without it nobody, not even a user of the same machine, can use the cluster."""

import os
from pathlib import Path

from distributed.security import Security

_ROLES = ("client", "scheduler", "worker")


def make_security(folder: Path) -> Security:
    """Make a certificate that is its own authority, for the scheduler, the workers and the client of one cluster.

    Parameters
    ----------
    folder : Path
        Gets the files, which only this user can read. The workers read them there.

    Returns
    -------
    Security
    """
    made = Security.temporary()
    certificate = _write(folder / "cluster.crt", made.tls_ca_file)
    key = _write(folder / "cluster.key", made.tls_worker_key)
    files = {f"tls_{role}_cert": certificate for role in _ROLES} | {f"tls_{role}_key": key for role in _ROLES}
    return Security(require_encryption=True, tls_ca_file=certificate, **files)


def _write(path: Path, content: str) -> str:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
    return str(path)
