"""The network of a pickled file, loaded: this runs the code in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skyfan.errors import ModelError
from skyfan.photoz.foreign.exchange import first_line

KEYS = ("model", "module", "network", "net", "model_ema", "ema")
"""Of a dict with several networks the first of these is taken."""
_PICKLE_MISSES = "Can't get attribute "


def load_network(path: Path, code: str | None) -> tuple[nn.Module, str]:
    """Return the network on the CPU, as float32, in eval(), and the key that it was under, '' if it is in no dict.

    Raises
    ------
    ModelError
        The file cannot be loaded, or holds no network.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise ModelError(_missing_module(str(error.name), code)) from error
    except AttributeError as error:
        if not str(error).startswith(_PICKLE_MISSES):
            raise ModelError(
                f"cannot be loaded: the network's code, or a package, has not what is asked of it ({first_line(error)})"
                "; expected packages of the versions that it was saved with - install these, or mend the code"
            ) from error
        raise ModelError(
            f"the code has not what the checkpoint names ({first_line(error)}); expected the code as it was when the "
            "network was saved, in an importable module - give that version with --code; a class of a script or a "
            "notebook (__main__) must be moved to a module and the network saved anew"
        ) from error
    except Exception as error:
        raise ModelError(
            f"cannot be loaded ({type(error).__name__}: {first_line(error)}); expected what torch.save(network, ...) "
            "wrote - try torch.load in Python"
        ) from error
    network, key = _module_of(content)
    while isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        network = network.module
    return network.to("cpu").float().eval(), key


def _missing_module(name: str, code: str | None) -> str:
    top = name.partition(".")[0]
    if not code:
        todo = f"give --code FOLDER, the folder that has {top!r}; if it is a package, install it"
    elif Path(code).resolve().name == top:
        todo = f"give the folder that {top!r} lies in: --code {Path(code).resolve().parent}"
    else:
        there = sorted(p.stem for p in Path(code).iterdir() if p.suffix == ".py" or (p.is_dir() and p.stem == p.name))
        has = ", ".join(name for name in there if name.isidentifier())
        todo = f"--code {code} has {has or 'no module'}; give the right folder, or install {top!r} if it is a package"
    return f"the network needs the module {name!r}, which cannot be imported - {todo}"


def _module_of(content: Any) -> tuple[nn.Module, str]:
    """Return the network of a checkpoint, which may be a dict with it among others, and its key there."""
    if isinstance(content, torch.jit.ScriptModule):
        raise ModelError(
            "is TorchScript, which torch cannot export; expected the network that it was made of - save that"
        )
    if isinstance(content, nn.Module):
        return content, ""
    if isinstance(content, Mapping):
        modules = {key: value for key, value in content.items() if isinstance(value, nn.Module)}
        if len(modules) > 1:
            modules = {key: modules[key] for key in KEYS if key in modules}
        if modules:
            key, network = next(iter(modules.items()))
            return network, str(key)
        inside = [content, *(value for value in content.values() if isinstance(value, Mapping))]
        if any(part and all(isinstance(value, Tensor) for value in part.values()) for part in inside):
            raise ModelError(
                "holds weights alone (a state_dict), not the network that they belong to; expected a whole module - "
                "in Python build the network, network.load_state_dict(...), torch.save(network, FILE), and export FILE"
            )
    keys = f" with the keys {', '.join(map(str, content))[:200]}" if isinstance(content, Mapping) else ""
    raise ModelError(
        f"holds a {type(content).__name__}{keys}; expected a torch.nn.Module, alone or in a dict - "
        "torch.save(network, FILE) makes one"
    )
