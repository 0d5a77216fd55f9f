"""The documentation cannot drift: what a user can name is in it, what it shows runs."""

import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import msgspec
import pytest

import skyfan
from factories import tiny_model
from skyfan import errors
from skyfan.cli import cli
from skyfan.payload import Payload
from skyfan.predictions import Flag

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PACKAGE = Path(inspect.getfile(skyfan)).parent
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")] if "_build" not in path.parts)

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page in these languages."""
    return [text for language, text in _BLOCK.findall(page.read_text()) if language in languages]


def shown_commands() -> list[Any]:
    """Every line of a shell block that calls skyfan, with its page."""
    found = []
    for page in PAGES:
        for block in blocks(page, "shell", "sh", "bash", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.removeprefix("$ ")
                if command.split(" ", 1)[0] == "skyfan":
                    found.append(pytest.param(command, id=f"{page.relative_to(ROOT)}: {command}"))
    return found


def commands() -> list[str]:
    """Every command, those of groups too, as in 'aws deploy'."""
    found = []
    for name in cli.list_commands(click.Context(cli)):
        group = command(name)
        below = group.list_commands(click.Context(group)) if isinstance(group, click.Group) else []
        found += [name, *(f"{name} {each}" for each in below)]
    return found


def command(name: str) -> click.Command:
    found: click.Command | None = cli
    for part in name.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), part)
    assert found is not None, f"skyfan has no command {name!r}"
    return found


def section(page: Path, heading: str) -> str:
    """The text of a page below a heading of the second level."""
    _, found, rest = page.read_text().partition(f"\n## {heading}\n")
    assert found, f"{page.name} has no section {heading!r}"
    return rest.split("\n## ", 1)[0]


def anchor(heading: str) -> str:
    """How a heading is linked to, as GitHub and myst have it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("skyfan_docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_generated_page_is_stale() -> None:
    # in a process of its own: a command that a test has called by itself keeps its own --help
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_says_what_is_stale_and_writes_nothing(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "PAGES", {page: lambda: "new\n"})
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    with pytest.raises(SystemExit, match="1"):
        generate.main()
    assert "page.md: stale" in capsys.readouterr().out
    assert not page.exists()
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    with pytest.raises(SystemExit, match="0"):
        generate.main()
    assert page.read_text() == "new\n"


def test_the_exit_codes_of_the_errors_are_documented(generate: ModuleType) -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.SkyfanError)]
    assert {kind.exit_code for kind in kinds} <= set(generate.EXIT_CODES)


def test_the_tree_of_the_errors_says_what_they_are() -> None:
    above: dict[int, tuple[str, int, bool]] = {-1: ("object", 1, False)}
    for line in (errors.__doc__ or "").split("\n\n", 1)[1].splitlines():
        name, said = re.fullmatch(r"[│├└─ ]*(\w+) *(.*)", line).groups()  # type: ignore[union-attr]
        depth = line.index(name) // 4
        parent, code, may_pass = above[depth - 1]
        found = re.search(r"exit code (\d+)(?! if)", said)
        told = (
            name,
            int(found[1]) if found else code,
            (may_pass or bool(re.search(r"; may pass|is tried again", said))) and "not tried again" not in said,
        )
        above[depth] = told
        kind = getattr(errors, name)
        assert (kind.__name__, kind.exit_code, kind.may_pass) == told
        assert kind.__base__.__name__ in {parent, "Exception"}
        changes = "exit_code" in inspect.signature(kind.__init__).parameters
        assert changes == bool(re.search(r"exit code 2 if", said)), name


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_is_documented(name: str) -> None:
    text = section(REFERENCE / "cli.md", f"skyfan {name}")
    for parameter in command(name).params:
        if isinstance(parameter, click.Argument):
            assert parameter.make_metavar(click.Context(command(name))) in text
        else:
            assert all(option in text for option in parameter.opts)


@pytest.mark.parametrize("key", [item.encode_name for item in msgspec.structs.fields(Payload)])
def test_every_payload_key_is_documented(key: str) -> None:
    assert f"| `{key}` |" in (REFERENCE / "payload.md").read_text()


@pytest.mark.parametrize("name", skyfan.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert re.search(rf"^\.\. (auto\w+|py:data):: skyfan\.{name}$", (REFERENCE / "api.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("flag", list(Flag))
def test_every_flag_is_documented(flag: Flag) -> None:
    assert f"| {flag.value} | `{str(flag.name).lower()}` |" in (REFERENCE / "flags.md").read_text()


def test_every_error_is_in_bad_input() -> None:
    text = (DOCS / "bad-input.md").read_text()
    kinds = [name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.SkyfanError)]
    assert [name for name in kinds if f"`{name}`" not in text] == []


BAD = {
    "unknown key": ({"batchsize": 4}, "unknown key 'batchsize'; did you mean 'batch_size'?"),
    "mistyped key": ({"batch_size": "many"}, "key 'batch_size' 'many': expected int, got str"),
    "leaving the folder": (
        {"data_prefix": "../other"},
        "'../other' has an empty, '.' or '..' segment; expected names joined by single slashes, as in 'surveys/25MB'",
    ),
    "script": ({"model": None, "script": "x.py"}, "but no 'S3_object_name' says where its code lies"),
    "no partition": (
        {"data_prefix": "30MB"},
        "no partition below sky/30MB/: found 0 other objects; expected files ending in .safetensors or .pt",
    ),
    "no such model": ({"model": "models/none.onnx"}, "there is no such object in bucket 'sky'"),
    "no shipped model": ({"model": "nomodel"}, "no model 'nomodel' ships with skyfan"),
    "not ONNX": ({"model": "models/bad.onnx"}, "expected one .onnx file with its weights inside"),
    "no input": ({"model": "models/other.onnx"}, "which the model models/"),
    "no such output": (
        {"model": "models/unusual.onnx"},
        "its metadata 'unusual_above' names 'score', which is not an output; expected some of z_phot, pdf",
    ),
    "fixed batch": (
        {"model": "models/fixed.onnx"},
        "expected a first axis of any length (export with a dynamic batch axis)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_bad_input_shows_is_what_is_seen(case: str, root: Path, asked: dict[str, Any]) -> None:
    changes, message = BAD[case]
    models = root / "sky" / "models"
    (models / "bad.onnx").write_bytes(b"not a model")
    tiny_model(models / "other.onnx", image="cutout")
    tiny_model(models / "fixed.onnx", batch=4)
    tiny_model(models / "unusual.onnx", metadata={"unusual_above": '{"score": 4.0}'})
    payload = {key: value for key, value in (asked | changes).items() if value is not None}
    with pytest.raises(errors.InputError, match=re.escape(message)):
        skyfan.plan(payload, store=root)
    assert message in (DOCS / "bad-input.md").read_text()


def test_every_file_of_the_package_is_in_the_readmes_tree() -> None:
    tree = next(block for block in blocks(ROOT / "README.md", "text") if block.startswith("src/skyfan/\n"))
    shown = {line.split()[0] for line in tree.splitlines()[1:] if line.strip() and not line.startswith("  #")}
    files = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    folders = {f"{path.name}/" for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert shown == files | folders


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    prose = _BLOCK.sub("", page.read_text())
    for link in _LINK.findall(prose):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}"
        if heading:
            anchors = {anchor(text) for text in _HEADING.findall(target.read_text())}
            assert heading in anchors, f"{page.name} links to {link}; there are {sorted(anchors)}"


@pytest.mark.parametrize("line", shown_commands())
def test_every_command_shown_is_one(line: str) -> None:
    _, *arguments = shlex.split(line, comments=True)
    if arguments in (["--help"], ["--version"]):
        return
    name, *rest = arguments
    if isinstance(command(name), click.Group) and rest and not rest[0].startswith("-"):
        name, *rest = f"{name} {rest[0]}", *rest[1:]
    if "--help" not in rest:
        command(name).make_context(name, rest)


def test_an_example_of_the_command_line_begins_each_line_at_the_margin() -> None:
    examples = blocks(REFERENCE / "cli.md", "shell")
    assert len(examples) > 20
    assert [line for block in examples for line in block.splitlines() if not line.startswith("skyfan ")] == []


def test_the_python_page_runs(
    root: Path,
    asked: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *rest = blocks(DOCS / "python.md", "python")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(first, names)  # noqa: S102
    assert names["payload"] == asked
    names["store"] = str(root)
    for block in rest:
        exec(block, names)  # noqa: S102
    printed = capsys.readouterr().out
    assert "complete True" in printed
    assert "belongs to another payload" in printed

    combined = json.loads((root / "sky" / "results" / "one" / "combined_data.json").read_text())
    documented = (DOCS / "combined-data.md").read_text()
    assert [key for key in combined[0] if f"`{key}`" not in documented] == []


def test_nothing_names_this_machine() -> None:
    for page in PAGES:
        assert str(ROOT) not in page.read_text(), page
