"""The command line: each command opens, calls one library function, prints."""

from skyfan.cli.group import cli, main

__all__ = ["cli", "main"]
