"""A network behind one way of calling it: how it is called, what it gives, and that each row stands alone."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skyfan.errors import ModelError
from skyfan.photoz.foreign.exchange import WAYS, Job, first_line
from skyfan.photoz.foreign.parity import PARITY, relative


class Adapter(nn.Module):
    """A network behind one way of calling it: tensors in, a tuple of tensors out, each (n,) or (n, ...)."""

    def __init__(self, network: nn.Module, names: Sequence[str], way: str) -> None:
        super().__init__()
        self.network = network
        self.names = tuple(names)
        self.way = way
        self.by_name = way == "arguments" and set(names) <= inspect.signature(network.forward).parameters.keys()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Call the network."""
        return tuple(
            value.flatten() if value.ndim > 1 and value.shape[1:].numel() == 1 else value
            for value in self.named(*tensors).values()
        )

    def named(self, *tensors: Tensor) -> dict[str, Any]:
        """Call the network; its outputs are named where it names them itself, else by their number."""
        if self.way == "list":
            result = self.network(list(tensors))
        elif self.by_name:
            result = self.network(**dict(zip(self.names, tensors, strict=True)))
        else:
            result = self.network(*tensors)
        if isinstance(result, Mapping):
            return dict(result)
        return {str(n): value for n, value in enumerate(result if isinstance(result, (tuple, list)) else [result])}


def find_way(network: nn.Module, random: Mapping[str, Tensor], job: Job) -> Adapter:
    """Find how forward takes its inputs, by trying on three rows.

    Raises
    ------
    ModelError
        It fails each way, or two ways give different results.
    """
    names = list(random)
    ways = [job.inputs_as] if job.inputs_as else list(WAYS)
    tries = [[(names, way) for way in ways]]
    if job.may_drop and len(names) > 1:
        tries.append([(names[:1], "arguments")])
    failures = []
    for candidates in tries:
        worked: list[tuple[Adapter, list[Tensor]]] = []
        for taken, way in candidates:
            adapter = Adapter(network, taken, way).eval()
            try:
                worked.append((adapter, checked(adapter, [random[name][:3] for name in taken])))
            except Exception as error:  # noqa: BLE001  whatever a user's code raises says that this is not the way
                failures.append(f"{', '.join(taken)} as {way}: {type(error).__name__}: {first_line(error)}")
        if len(worked) > 1 and _apart(worked[0][1], worked[1][1]) > PARITY:
            raise ModelError(
                "forward takes its inputs as a list and as arguments, and gives different results; say which is meant "
                "with --inputs-as list or --inputs-as arguments"
            )
        if worked:
            return worked[0][0]
    raise ModelError(
        f"forward fails on 3 rows on the CPU; it was called with {'; with '.join(failures)} - name its inputs in "
        "order, and the shape of a row, as in --input image=5x64x64 --input magnitude=5; take .cuda() out of forward"
    )


def checked(adapter: Adapter, rows: Sequence[Tensor]) -> list[Tensor]:
    """Call the network; every output must be a tensor with a row for each row."""
    count = len(rows[0])
    given = adapter.named(*rows)
    if not given:
        raise ModelError("it returns nothing; expected one number or list per row")
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise ModelError(f"output {name} is {type(value).__name__}; expected tensors - return these alone")
        if value.ndim == 0 or len(value) != count:
            raise ModelError(
                f"output {name} has the shape {tuple(value.shape)} for {count} rows; expected one number or list per "
                "row"
            )
    return list(adapter(*rows))


def check_rows_alone(adapter: Adapter, rows: Sequence[Tensor]) -> None:
    """Check that a row's result depends on that row alone: not on chance, nor on its batch."""
    whole = checked(adapter, rows)
    torch.manual_seed(20)
    if _apart(whole, checked(adapter, rows)) > PARITY:
        raise ModelError(
            "forward gives other results when it is called again on the same rows; expected none to depend on chance "
            "after eval() - as functional.dropout(x) does without training=self.training"
        )
    alone = [checked(adapter, [values[n : n + 1] for values in rows]) for n in range(4)]
    if _apart([values[:4] for values in whole], [torch.cat(values) for values in zip(*alone, strict=True)]) > PARITY:
        raise ModelError(
            "the result of a row changes with the rows beside it; expected each to depend on its row alone - as with "
            "a BatchNorm that tracks no statistics, or a sum over the batch"
        )


def name_outputs(adapter: Adapter, rows: Sequence[Tensor], asked: Sequence[str]) -> dict[str, list[int]]:
    """Return the shape of a row of each output, by name: as asked for, as the network says, or the usual one."""
    own = list(adapter.named(*rows))
    shapes = [list(values.shape[1:]) for values in adapter(*rows)]
    if asked and (len(asked) != len(own) or len(set(asked)) < len(asked)):
        raise ModelError(
            f"forward returns {len(own)} output(s) of the shapes {shapes} a row, named are {', '.join(asked)}; "
            "expected one --output NAME for each, in order, all different"
        )
    if asked:
        names = list(asked)
    elif own != [str(n) for n in range(len(own))]:
        names = [str(key) for key in own]
    elif len(own) == 1:
        names = ["output" if shapes[0] else "z_phot"]
    else:
        names = [f"output_{n + 1}" for n in range(len(own))]
    if same := set(names) & set(adapter.names):
        raise ModelError(
            f"an output is called {min(same)!r}, as an input is; expected another name - give it by --output"
        )
    return dict(zip(names, shapes, strict=True))


def _apart(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    if [values.shape for values in one] != [values.shape for values in other]:
        return float("inf")
    return max(relative(a.double().numpy(), [b.numpy()]) for a, b in zip(one, other, strict=True))
