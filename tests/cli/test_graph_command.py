"""skyfan graph: what it prints, writes and refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from skyfan.aws.template import definition_text
from skyfan.cli.graphs import graph
from skyfan.errors import InputError
from skyfan.graph.drawing import draw

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"StartAt": "Only", "States": {"Only": {"Type": "Succeed"}}}))
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(graph, list(map(str, arguments)))


def refused(*arguments: object) -> str:
    """The message of what a call is refused with."""
    result = call(*arguments)
    assert isinstance(result.exception, InputError), result.output
    assert result.output == ""
    return str(result.exception)


def test_without_anything_it_prints_skyfans_own_machine_as_svg() -> None:
    result = call()
    assert result.exit_code == 0
    assert result.stdout == draw()
    assert result.stdout.startswith("<svg ")
    assert "<title id=" in result.stdout
    for name in json.loads(definition_text())["States"]:
        assert f">{name}</text>" in result.stdout


def test_another_machine_is_drawn_from_its_file(definition: Path) -> None:
    assert ">State machine: mine</title>" in call(definition).stdout
    text = call(definition, "--format", "mermaid").stdout
    assert text.startswith("flowchart TD\n")
    assert "Only<br/>Succeed" in text


def test_a_file_is_written_whole(definition: Path, tmp_path: Path) -> None:
    out = tmp_path / "picture.svg"
    out.write_text(draw())
    result = call(definition, "--out", out)
    assert result.output == f"{out}: written\n"
    assert out.read_bytes() == draw(definition).encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "picture.svg"]


@pytest.mark.parametrize(
    "held", ['{"model": "m"}', "", '{"a": "%% skyfan-graph class=\\"skyfan-graph\\""}', "<svg ></svg>"]
)
def test_a_file_that_skyfan_did_not_draw_is_kept(held: str, definition: Path, tmp_path: Path) -> None:
    out = tmp_path / "payload.json"
    out.write_text(held)
    assert "or --overwrite" in refused(definition, "--out", out)
    assert out.read_text() == held
    assert call(definition, "--out", out, "--overwrite").exit_code == 0
    assert out.read_text() == draw(definition)
    assert "is the definition itself" in refused(definition, "--out", definition, "--overwrite")


def test_text_that_skyfan_drew_is_replaced(definition: Path, tmp_path: Path) -> None:
    out = tmp_path / "picture.mmd"
    for _ in range(2):
        assert call(definition, "--format", "mermaid", "--out", out).exit_code == 0
        assert out.read_text() == "%% skyfan-graph\n" + draw(definition, "mermaid")
    out.write_text(draw(definition, "mermaid").replace("Only", "Mine"))
    assert "or --overwrite" in refused(definition, "--out", out)


def test_a_link_stays_one(definition: Path, tmp_path: Path) -> None:
    (tmp_path / "link.svg").symlink_to(tmp_path / "real.svg")
    assert call(definition, "--out", tmp_path / "link.svg").exit_code == 0
    assert (tmp_path / "link.svg").is_symlink()
    assert (tmp_path / "real.svg").read_text() == draw(definition)


def test_the_definition_is_not_overwritten(definition: Path, tmp_path: Path) -> None:
    before = definition.read_bytes()
    (tmp_path / "other.json").hardlink_to(definition)
    for out in (definition, tmp_path / "other.json"):
        assert "is the definition itself: it would be lost" in refused(definition, "--out", out)
    assert definition.read_bytes() == before


@pytest.mark.parametrize("out", ["absent/x.svg", "."])
def test_what_cannot_be_written_is_refused(definition: Path, tmp_path: Path, out: str) -> None:
    assert "expected" in refused(definition, "--out", f"{tmp_path}/{out}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


def test_a_write_that_fails_leaves_the_old_file(
    definition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "picture.svg"
    out.write_text("old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left on device" in refused(definition, "--out", out, "--overwrite")
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "picture.svg"]


def test_bad_definitions_are_refused_by_file_state_and_fault(definition: Path, tmp_path: Path) -> None:
    assert "absent.json: cannot be read" in refused(tmp_path / "absent.json")
    definition.write_text("{")
    assert "mine.json: is not JSON" in refused(definition)
    definition.write_text(json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}}))
    message = refused(definition)
    assert "mine.json: state 'A' names 'B' as Next" in message
    assert "expected one of 'A'" in message


def test_an_unknown_format_is_refused() -> None:
    result = call("--format", "png")
    assert result.exit_code == 2
    assert "'svg', 'mermaid'" in result.output
    with pytest.raises(InputError, match="expected svg or mermaid"):
        draw(form="png")


def test_help_has_an_example() -> None:
    assert "Example:  skyfan graph --out state-machine.svg" in call("--help").stdout


def test_a_picture_needs_nothing_that_is_slow_to_import() -> None:
    code = "import sys; from skyfan.graph.drawing import draw; draw(); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()}
    assert not loaded & {"boto3", "matplotlib", "jinja2", "torch", "yaml", "pandas", "onnxruntime"}


def test_the_documentation_shows_the_machine_as_it_is() -> None:
    assert (DOCS / "state-machine.svg").read_text() == draw(), "run: skyfan graph --out docs/state-machine.svg"
    shown = (DOCS / "graph.md").read_text()
    assert draw(form="mermaid") in shown, "run: skyfan graph --format mermaid, and copy it into docs/graph.md"
