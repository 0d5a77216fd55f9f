"""What holds for every script, whether it has a /tmp of its own or its turn in the real one. The faults are real."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from scripting.boxes import PYTHON, TMP, Run, boxed, left_of, wait_until
from skyfan.errors import InputError, WorkerError
from skyfan.scripting.limits import Limits
from skyfan.scripting.output import MAX_OUTPUT_BYTES

DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("daemon", os.getpid(), flush=True)
        time.sleep(60)
    os._exit(0)
os.wait()
time.sleep(0.3)
"""
CALLER = """
import sys
from pathlib import Path
from scripting.boxes import boxed, PYTHON
boxed(*PYTHON, sys.argv[2], directory=Path(sys.argv[1]), private=sys.argv[3] == "True")
"""
READY = 'open("ready", "w").close()\ntime.sleep(60)'


def start_caller(directory: Path, private: bool, code: str) -> "subprocess.Popen[bytes]":
    """Start a process that runs a script in a box, and wait until the script is ready."""
    code = f"import os; os.chdir({str(TMP if private else directory)!r})\n{code}"
    command = [sys.executable, "-c", CALLER, str(directory), code, str(private)]
    caller = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    wait_until((directory / "ready").exists, "the script is ready")
    return caller


def test_a_script_that_ends_well_says_nothing_of_why(run: Run) -> None:
    ending = run("import sys; print('out', flush=True); print('err', file=sys.stderr)")
    assert ending.exit_code == 0
    assert ending.why is None
    assert ending.output == b"out\nerr\n"
    assert 0 < ending.wall_s < 30
    assert 1 < ending.peak_memory_mb < 60


@pytest.mark.parametrize(
    ("code", "exit_code", "why"),
    [
        ("raise SystemExit(3)", 3, "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139, "ended by SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "ended by SIGKILL, as when memory runs out"),
        ("import os; os._exit(139)", 139, "exit code 139"),
    ],
)
def test_the_way_it_ended_is_told(run: Run, code: str, exit_code: int, why: str) -> None:
    ending = run(code)
    assert (ending.exit_code, ending.why) == (exit_code, why)


def test_a_program_that_is_not_there_is_told_as_a_shell_does(directory: Path, private: bool) -> None:
    environment = {"PATH": "/usr/bin:/bin"}
    ending = boxed("no-such-program", directory=directory, private=private, environment=environment)
    assert (ending.exit_code, ending.why) == (127, "could not be started: No such file or directory")


def test_a_program_that_cannot_be_run_is_told_as_a_shell_does(directory: Path, private: bool) -> None:
    ending = boxed("/etc/passwd", directory=directory, private=private)
    assert (ending.exit_code, ending.why) == (126, "could not be started: Permission denied")


def test_a_folder_to_start_in_that_is_not_there_is_refused(directory: Path, private: bool) -> None:
    with pytest.raises(InputError, match=r"cannot start in /tmp/box nowhere: No such file"):
        boxed("true", directory=directory, private=private, cwd=str(TMP / "box nowhere"))


def test_it_starts_where_its_code_is_and_imports_it_by_its_path_below_tmp(directory: Path, private: bool) -> None:
    (directory / "box code" / "inner").mkdir(parents=True)
    (directory / "box code" / "physics.py").write_text("answer = 42")
    code = "import os, sys; sys.path.append('/tmp/box code'); import physics; print(physics.answer, os.listdir('..'))"
    ending = boxed(*PYTHON, code, directory=directory, private=private, cwd=str(TMP / "box code" / "inner"))
    assert ending.output.startswith(b"42 [")
    assert b"physics.py" in ending.output


def test_it_gets_the_environment_that_it_is_given_and_no_other(
    directory: Path, private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the caller")
    given = {"NAME": "naïve", "BROKEN": "\udcff"}
    code = "import os; print(sorted(os.environb.items()))"
    ending = boxed(*PYTHON, code, directory=directory, private=private, environment=given)
    expected = {b"NAME": "naïve".encode(), b"BROKEN": b"\xff"}
    if not private:
        expected[b"TMPDIR"] = os.fsencode(directory)
    seen = dict(eval(ending.output))  # noqa: S307
    seen.pop(b"LC_CTYPE", None)  # Python's own doing
    assert seen == expected


def test_an_environment_that_no_program_can_have_is_an_error(directory: Path, private: bool) -> None:
    with pytest.raises(WorkerError, match="the script cannot be started: ValueError"):
        boxed("true", directory=directory, private=private, environment={"NAME": "a\0b"})


def test_many_variables_and_arguments_reach_it(directory: Path, private: bool) -> None:
    given = {f"NAME{number}": "x" * 1000 for number in range(500)}
    code = "import os, sys; print(len(os.environ['NAME499']), len(sys.argv[1]))"
    ending = boxed(*PYTHON, code, "y" * 100_000, directory=directory, private=private, environment=given)
    assert ending.output == b"1000 100000\n"


def test_stdin_is_empty_and_no_other_file_is_open(run: Run) -> None:
    ending = run("import os, sys; print(repr(sys.stdin.read()), sorted(map(int, os.listdir('/proc/self/fd')))[:-1])")
    assert ending.output == b"'' [0, 1, 2]\n"


def test_signals_are_at_their_defaults(run: Run) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ending = run("print(*[line for line in open('/proc/self/status') if line[:6] in ('SigBlk', 'SigIgn')])")
    finally:
        signal.signal(signal.SIGHUP, before)
    ignored_by_python = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    blocked, ignored = (int(line.split()[1], 16) for line in ending.output.splitlines() if line.strip())
    of_the_c_library = 0b11 << 31  # 32 and 33, which nobody can set back
    assert (blocked, ignored & ~of_the_c_library) == (0, ignored_by_python)


def test_it_gains_no_privileges_and_leaves_no_core(run: Run) -> None:
    ending = run(
        "import resource; print(resource.getrlimit(resource.RLIMIT_CORE), "
        "[line.split()[1] for line in open('/proc/self/status') if line.startswith('NoNewPrivs')])"
    )
    assert ending.output == b"(0, 0) ['1']\n"


def test_one_that_hangs_is_ended_and_what_it_wrote_is_kept(run: Run) -> None:
    ending = run("import time; print('so far', flush=True); time.sleep(60)", timeout_s=1.5)
    assert (ending.exit_code, ending.why) == (137, "was ended: it ran longer than 1.5 s (task_timeout_s)")
    assert ending.output == b"so far\n"
    assert 1.5 <= ending.wall_s < 20


def test_a_daemon_that_ignores_signals_is_gone_when_the_script_is(run: Run, directory: Path) -> None:
    started = time.monotonic()
    ending = run(DAEMON)
    assert left_of(directory) == []
    assert ending.exit_code == 0
    assert ending.output.startswith(b"daemon ")
    assert time.monotonic() - started < 20  # and the pipe that it held open was not waited for


def test_a_daemon_is_gone_when_the_script_is_ended(run: Run, directory: Path) -> None:
    ending = run(f"{DAEMON}\ntime.sleep(60)", timeout_s=2)
    assert left_of(directory) == []
    assert ending.exit_code == 137
    assert ending.output.startswith(b"daemon ")


def test_a_signal_to_its_own_process_group_does_not_reach_the_box(run: Run) -> None:
    ending = run("import os, signal; print('here', flush=True); os.killpg(0, signal.SIGTERM)")
    assert (ending.exit_code, ending.why, ending.output) == (143, "ended by SIGTERM", b"here\n")


def test_too_much_memory_ends_it(run: Run) -> None:
    ending = run("import time; hog = bytearray(300 << 20); time.sleep(60)", memory_mb=100)
    assert ending.exit_code == 137
    assert ending.why is not None
    assert ending.why.startswith("was ended: it took ")
    assert ending.why.endswith(" MiB of memory (script_memory_mb 100)")
    assert ending.peak_memory_mb > 100


def test_the_memory_of_its_children_counts(run: Run) -> None:
    code = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        hog = bytearray(60 << 20)
        time.sleep(60)
time.sleep(60)
"""
    ending = run(code, memory_mb=150)
    assert ending.why is not None
    assert ending.why.endswith(" MiB of memory (script_memory_mb 150)")
    assert ending.peak_memory_mb < 400


def test_memory_that_processes_share_counts_once(run: Run) -> None:
    code = """
import os, time
shared = b"x" * (100 << 20)
for _ in range(4):
    if os.fork() == 0:
        time.sleep(0.7)
        os._exit(0)
time.sleep(0.7)
"""
    ending = run(code, memory_mb=250)
    assert ending.why is None
    assert 100 < ending.peak_memory_mb < 200


def test_a_short_peak_is_seen(run: Run) -> None:
    assert run("hog = bytearray(200 << 20)").peak_memory_mb > 200


def test_a_bomb_of_processes_is_over_soon(run: Run, directory: Path) -> None:
    code = """
import os, time
for _ in range(2000):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""
    started = time.monotonic()
    ending = run(code, processes=50)
    assert time.monotonic() - started < 30
    assert left_of(directory) == []
    assert ending.why == "was ended: it had more than 50 processes (script_processes 50)"


def test_as_many_processes_as_permitted_are_left_alone(run: Run) -> None:
    code = (
        "import os, time\nfor _ in range(9):\n  if os.fork() == 0:\n    time.sleep(0.5); os._exit(0)\ntime.sleep(0.5)"
    )
    assert run(code, processes=10).why is None


def test_too_much_in_many_files_ends_it(directory: Path, private: bool) -> None:
    (directory / "box data").mkdir()
    code = """
import time
for number in range(30):
    open(f"/tmp/box data/{number}", "wb").write(b"x" * (1 << 20))
time.sleep(60)
"""
    ending = boxed(*PYTHON, code, directory=directory, private=private, limits=Limits(timeout_s=60, disk_mb=20))
    assert ending.why is not None
    assert re.fullmatch(r"was ended: it wrote (2\d|30) MiB \(script_disk_mb 20\)", ending.why)


def test_what_lay_there_before_is_not_what_a_script_wrote(directory: Path, private: bool) -> None:
    (directory / "box code").mkdir()
    (directory / "box code" / "weights").write_bytes(b"x" * (24 << 20))
    code = "import time; time.sleep(1.5); open('/tmp/box code/more', 'wb').write(b'x' * (2 << 20)); time.sleep(1.5)"
    ending = boxed(*PYTHON, code, directory=directory, private=private, limits=Limits(disk_mb=10))
    assert ending.why is None


def test_too_much_that_is_written_quickly_is_seen_at_the_end(directory: Path, private: bool) -> None:
    (directory / "box data").mkdir()
    code = "for number in range(4): open(f'/tmp/box data/{number}', 'wb').write(b'x' * (8 << 20))"
    ending = boxed(*PYTHON, code, directory=directory, private=private, limits=Limits(disk_mb=20))
    assert ending.why in {"it wrote 32 MiB (script_disk_mb 20)", "was ended: it wrote 32 MiB (script_disk_mb 20)"}


def test_too_much_in_one_file_ends_it(directory: Path, private: bool) -> None:
    (directory / "box data").mkdir()
    command = ("dd", "if=/dev/zero", "of=/tmp/box data/big", "bs=1M", "count=100")
    ending = boxed(*command, directory=directory, private=private, limits=Limits(disk_mb=20))
    assert ending.why == "was ended: it wrote more than 20 MiB to a file (script_disk_mb 20)"
    assert (directory / "box data" / "big").stat().st_size == 20 << 20


def test_what_it_writes_is_kept_as_it_is(run: Run) -> None:
    ending = run("import sys; sys.stdout.buffer.write(bytes(range(256)) * 3)")
    assert ending.output == bytes(range(256)) * 3


def test_of_50_mb_of_output_the_beginning_and_the_end_are_kept(run: Run) -> None:
    started = time.monotonic()
    ending = run("import sys\nfor n in range(1000): sys.stdout.buffer.write(b'%06d' % n + b'x' * 50_000 + b'\\n')")
    assert ending.why is None
    assert len(ending.output) <= MAX_OUTPUT_BYTES
    assert ending.output.startswith(b"000000x")
    assert b" bytes are left out here" in ending.output
    assert ending.output.endswith(b"\n")
    assert ending.output.splitlines()[-1].startswith(b"000999x")
    assert time.monotonic() - started < 30


def test_one_that_closes_its_output_is_still_waited_for(run: Run) -> None:
    ending = run("import os, time; os.write(1, b'last'); os.close(1); os.close(2); time.sleep(0.3); os._exit(4)")
    assert (ending.exit_code, ending.output) == (4, b"last")
    assert ending.wall_s >= 0.3


def test_nothing_is_left_when_its_caller_is_killed(directory: Path, private: bool) -> None:
    code = DAEMON.replace("time.sleep(0.3)", READY)
    caller = start_caller(directory, private, code)
    assert len(left_of(directory)) == 2
    caller.kill()
    caller.wait()
    wait_until(lambda: not left_of(directory), "its processes are gone")


def test_nothing_is_left_at_whatever_moment_its_caller_is_killed(directory: Path, private: bool) -> None:
    code = f"""
import os, signal, time
from pathlib import Path
from scripting.boxes import boxed
from skyfan.scripting.namespaces import adopt_orphans
adopt_orphans()
for number in range(16):
    caller = os.fork()
    if caller == 0:
        boxed("sh", "-c", "sleep 100 & sleep 100", directory=Path({str(directory)!r}), private={private})
    time.sleep(number * 0.006)
    os.kill(caller, signal.SIGKILL)
try:
    while True:
        os.wait()
except ChildProcessError:
    print("all are gone")
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"all are gone\n"


def test_nothing_is_left_when_its_caller_is_interrupted(directory: Path, private: bool) -> None:
    caller = start_caller(directory, private, DAEMON.replace("time.sleep(0.3)", READY))
    caller.send_signal(signal.SIGINT)
    caller.wait()
    assert left_of(directory) == []


def test_it_can_be_run_in_any_thread(run: Run) -> None:
    endings = []
    thread = threading.Thread(target=lambda: endings.append(run("print('here')")))
    thread.start()
    thread.join()
    assert endings[0].output == b"here\n"


def test_no_file_stays_open(run: Run) -> None:
    run("")
    before = psutil.Process().num_fds()
    run("")
    assert psutil.Process().num_fds() == before
