"""What a run takes beside the work of its tasks: Initialize, Summarize, and handing tasks out."""

from skyfan.estimating.bill import LIST_PAGE, Speed
from skyfan.storage import READERS

LOCAL_INITIALIZE_S, LOCAL_INITIALIZE_TASK_S = 0.12, 30e-6
LOCAL_SUMMARIZE_S, LOCAL_SUMMARIZE_TASK_S = 0.01, 110e-6
LOCAL_DISPATCH_S = 0.4e-3
"""Of the driver, per task: it reads a report, tells of it and hands out the next."""
LOCAL_AFTER_TASK_S = 0.6e-3
"""From a worker's report until it has its next task: what no report can tell. All six in a folder, with the shipped
model, on the machine of benchmarks/results/2026-11-24-scale.json, `ends`."""

AWS_REQUEST_S = 0.03
"""Of a small object of S3, or a page of a listing; assumed, not measured on AWS."""
AWS_INITIALIZE_S = AWS_SUMMARIZE_S = Speed(s_per_row=0).s_ends / 2
"""Of a run with hardly a task, with two cold starts and the state machine's own steps; assumed."""


def initialize_s(tasks: int, partitions: int, *, on_aws: bool) -> float:
    """Return how long a run takes until its first task can start, s."""
    planned_s = tasks * LOCAL_INITIALIZE_TASK_S
    if not on_aws:
        return LOCAL_INITIALIZE_S + planned_s
    return AWS_INITIALIZE_S + planned_s + partitions / LIST_PAGE * AWS_REQUEST_S


def summarize_s(tasks: int, *, on_aws: bool) -> float:
    """Return how long a run takes after its last task, s: every report is read, several at a time, and two listings."""
    judged_s = tasks * LOCAL_SUMMARIZE_TASK_S
    if not on_aws:
        return LOCAL_SUMMARIZE_S + judged_s
    return AWS_SUMMARIZE_S + judged_s + tasks * AWS_REQUEST_S * (1 / READERS + 2 / LIST_PAGE)
