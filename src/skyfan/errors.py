"""Every error that skyfan raises on purpose.

SkyfanError
├── InputError                  what was handed in cannot be used; exit code 2
│   ├── PayloadError            an unknown, missing or mistyped key of a payload
│   ├── KeyNameError            a bucket, key or prefix that could leave its folder
│   ├── SurveyError             a survey that cannot be split, or an index that does not fit its partitions
│   ├── PartitionError          a partition that cannot be read, or that the model cannot take or fails on
│   ├── ModelError              a model that cannot be loaded, is another than planned, or needs other inputs
│   ├── CodeError               code of a script task that is not there, or cannot be laid out
│   ├── ScriptsRefusedError     a user's script that nobody has allowed to run
│   ├── UnknownRunError         there is no such run
│   └── ClaimedError            the result path belongs to another payload, or another driver is at work
├── StoreError                  the store did not do what it was asked; may pass, so it is tried again; exit code 1
│   ├── StoreAbsentError        there is no such store or bucket; not tried again; exit code 2
│   ├── StoreRefusedError       no permission; not tried again; exit code 2
│   └── StoreFullError          no space left; not tried again; exit code 2
├── WorkerError                 a task's worker ended or ran out of time or memory; may pass; exit code 1
├── ScriptError                 a user's script failed; nobody can tell why, so it is tried again; exit code 1
├── AttemptsSpentError          a task on AWS failed in a way that may pass, for the last time
├── AwsError                    AWS did not do what it was asked; exit code 1
│   ├── AwsRefusedError         no credentials, no permission or no quota; exit code 2
│   └── StackError              there is no such stack, or it is in a state that it cannot be used in; exit code 2
└── RunError                    exit code 1, unless its cause says otherwise
    ├── RunFailedError          more tasks failed than the payload tolerates; exit code 2 if bad input is why
    ├── BudgetError             it costs more than allowed, or would; exit code 2 if it was not started
    ├── ClusterError            an engine's cluster cannot be reached or went away; running it again goes on
    ├── RunStoppedError         the run was interrupted; running it again goes on; exit code 130
    └── LeaseLostError          another driver took the run over
"""

from typing import ClassVar


class SkyfanError(Exception):
    """Any error that skyfan raises on purpose; its text says what, got, expected and what to do next."""

    exit_code: ClassVar[int] = 1
    """What the command line exits with."""
    may_pass: ClassVar[bool] = False
    """Whether trying the same again can help."""
    ends_run: ClassVar[bool] = False
    """Whether every other task would meet the same, so that no new one should start."""


class InputError(SkyfanError):
    """What was handed in cannot be used as it is."""

    exit_code = 2


class PayloadError(InputError):
    """A payload with an unknown, missing or mistyped key."""


class KeyNameError(InputError):
    """A bucket, key or prefix that is malformed or could leave its folder."""


class SurveyError(InputError):
    """A survey that cannot be split, or an index that does not fit its partitions."""


class PartitionError(InputError):
    """A partition that cannot be read, or that the model cannot take or fails on."""


class ModelError(InputError):
    """A model that cannot be loaded, is another than planned, or needs inputs that the partitions do not have."""

    ends_run = True


class CodeError(InputError):
    """The code of a script task is not there, is another than planned, or cannot be laid out in a folder."""

    ends_run = True


class ScriptsRefusedError(InputError):
    """A payload asks for a user's script, and nobody has allowed scripts to run here."""

    ends_run = True


class UnknownRunError(InputError):
    """There is no run of that name."""


class ClaimedError(InputError):
    """The result path belongs to another payload, or another driver is at work on it."""


class StoreError(SkyfanError):
    """The store did not do what it was asked."""

    may_pass = True


class StoreAbsentError(StoreError):
    """There is no such store, or no such bucket in it."""

    exit_code = 2
    may_pass = False
    ends_run = True


class StoreRefusedError(StoreError):
    """The store does not permit it."""

    exit_code = 2
    may_pass = False
    ends_run = True


class StoreFullError(StoreError):
    """No space is left in the store."""

    exit_code = 2
    may_pass = False
    ends_run = True


class WorkerError(SkyfanError):
    """The worker of a task ended, or ran out of time or memory."""

    may_pass = True


class ScriptError(SkyfanError):
    """A user's script failed, or was ended for passing a limit. Whether that can pass nobody but its author knows."""

    may_pass = True


class AttemptsSpentError(SkyfanError):
    """A task failed in a way that may pass, for the last time that its payload asks for."""


class AwsError(SkyfanError):
    """AWS did not do what it was asked."""


class AwsRefusedError(AwsError):
    """AWS has no credentials, no permission or no quota for it."""

    exit_code = 2


class StackError(AwsError):
    """There is no such stack, or it is in a state that it cannot be used in."""

    exit_code = 2


class RunError(SkyfanError):
    """A run that did not reach its end."""


class RunFailedError(RunError):
    """More tasks failed than the payload tolerates."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]


class BudgetError(RunError):
    """A run costs more than allowed, or would."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]


class ClusterError(RunError):
    """The cluster that an engine works on cannot be reached, or went away; running the same again goes on."""


class RunStoppedError(RunError):
    """The run was interrupted; running the same payload again goes on."""

    exit_code = 130


class LeaseLostError(RunError):
    """Another driver took the run over."""
