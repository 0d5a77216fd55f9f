"""The other process: python -P -m skyfan.photoz.foreign.translation FOLDER does the job that lies in a folder."""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from skyfan.errors import ModelError
from skyfan.photoz.foreign.adapter import Adapter, check_rows_alone, checked, find_way, name_outputs
from skyfan.photoz.foreign.exchange import FLOAT32, Arrays, Translation, read_job, write_expected, write_result
from skyfan.photoz.foreign.loading import load_network
from skyfan.photoz.foreign.parity import batches
from skyfan.photoz.foreign.writing import write_onnx
from skyfan.photoz.onnx_file import quiet


def translate(folder: Path) -> None:
    """Do the job that `folder` describes, and leave the file, torch's results and what was found out beside it."""
    job, arrays = read_job(folder)
    samples = {key: torch.from_numpy(values) for key, values in arrays.items()}
    random = {key.removeprefix("random/"): rows for key, rows in samples.items() if key.startswith("random/")}
    if job.code:
        sys.path.insert(0, job.code)
    try:
        with quiet(), torch.no_grad():
            network, key = load_network(Path(job.checkpoint), job.code)
            adapter = find_way(network, random, job)
            rows = [random[name] for name in adapter.names]
            check_rows_alone(adapter, rows)
            outputs = name_outputs(adapter, rows, job.outputs)
            traced = write_onnx(adapter, [values[:3] for values in rows], list(outputs), folder / FLOAT32)
            write_expected(folder, _results(adapter, samples))
    except ModelError as error:
        write_result(folder, error)
        return
    found = Translation(
        network=type(network).__name__,
        key=key,
        inputs={name: list(random[name].shape[1:]) for name in adapter.names},
        inputs_as=adapter.way,
        outputs=outputs,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        traced=traced,
    )
    write_result(folder, found)


def _results(adapter: Adapter, samples: Mapping[str, Tensor]) -> Arrays:
    """Return torch's outputs on all rows, as `random/0`, `real/0`."""
    results: Arrays = {}
    for kind in {key.partition("/")[0] for key in samples}:
        rows = [samples[f"{kind}/{name}"] for name in adapter.names]
        pieces = [checked(adapter, [values[batch] for values in rows]) for batch in batches(len(rows[0]))]
        results |= {f"{kind}/{n}": torch.cat(values).numpy() for n, values in enumerate(zip(*pieces, strict=True))}
    return results


if __name__ == "__main__":
    translate(Path(sys.argv[1]))
