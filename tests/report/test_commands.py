"""The commands that a report shows: they prove the run that it is about, and make another beside it."""

import json
import shlex
from pathlib import Path
from typing import Any

import skyfan
from skyfan.report.commands import again_commands, verify_command
from skyfan.report.completeness import completeness
from skyfan.report.document import Code
from skyfan.report.record import read_record
from skyfan.storage import Store


def test_a_run_is_made_again_beside_the_one_that_is_there(
    finished: skyfan.Run, root: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    record = read_record(finished, Store(str(root)))
    comment, run, verify = map(shlex.split, again_commands(record).splitlines())
    assert comment[:2] == ["#", "skyfan"]
    assert run == ["skyfan", "run", "payload.json", "--result-path", "results/one-again", "--store", str(root)]
    assert verify == ["skyfan", "verify", "sky/results/one-again", "--store", str(root)]
    before = (root / "sky" / "results" / "one" / "summary.json").read_bytes()
    payload = tmp_path / "payload.json"
    payload.write_text(json.dumps(asked))
    again = skyfan.run(payload, store=run[6], result_path=run[4], workers=1)
    assert again.id == verify[2]
    assert again.verify().complete
    assert (root / "sky" / "results" / "one" / "summary.json").read_bytes() == before


def test_the_proof_of_a_run_names_its_store(finished: skyfan.Run, root: Path) -> None:
    record = read_record(finished, Store(str(root)))
    said = [block.text for block in completeness(record) if isinstance(block, Code)]
    assert said == [verify_command(record)] == [f"skyfan verify sky/results/one --store {root}"]
