"""`python -m skyfan` is `skyfan`."""

from skyfan.cli import main

main()
