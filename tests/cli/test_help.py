"""What the command line says of itself: its lists of commands, and what it makes of one that it does not have."""

import subprocess

import pytest

from running import SKYFAN
from skyfan.cli.group import COMMANDS

NARROW = 80


def told(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*SKYFAN, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("group", [[], ["aws"]], ids=["skyfan", "skyfan aws"])
def test_asked_for_nothing_it_prints_its_help_alone(group: list[str]) -> None:
    done = told(*group)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == told(*group, "--help").stdout


@pytest.mark.parametrize("group", [[], ["aws"]], ids=["skyfan", "skyfan aws"])
def test_what_a_command_does_is_listed_whole_in_a_narrow_terminal(group: list[str]) -> None:
    listed = told(*group, "--help").stdout.partition("\nCommands:\n")[2].splitlines()
    assert len(listed) == (len(COMMANDS) if not group else 6)
    for line in listed:
        name, _, said = line.strip().partition(" ")
        assert said, name
        assert "..." not in line
        assert len(line) < NARROW


@pytest.mark.parametrize(
    ("asked", "meant"),
    [(["rn"], "run"), (["RUN"], "run"), (["import"], "import-results"), (["aws", "deplo"], "deploy")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_command_that_is_nearly_one_is_told_which(asked: list[str], meant: str) -> None:
    done = told(*asked)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"there is no command '{asked[-1]}'; did you mean '{meant}'? Usage: " in done.stderr


def test_a_command_that_is_like_none_is_told_which_there_are() -> None:
    done = told("aws", "xyzzy")
    assert done.returncode == 2
    assert "there is no command 'xyzzy'; expected one of deploy, destroy, iam" in done.stderr
    assert "upload. Usage: " in done.stderr


def test_an_option_that_is_none_still_is_said_to_be() -> None:
    done = told("--nonsense")
    assert done.returncode == 2
    assert "No such option '--nonsense'. Usage: " in done.stderr
