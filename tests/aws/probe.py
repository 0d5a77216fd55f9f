"""Beside the package: its function Infer, that also says which modules were imported for a task, and from where."""

import sys
from typing import Any

from skyfan.aws import handlers


def infer(event: dict[str, Any], context: object) -> dict[str, Any]:
    answer = handlers.infer(event, context)
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return {"answer": answer, "files": {name: file for name, file in files.items() if file}}
