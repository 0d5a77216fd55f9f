"""The signs of kinds of states and of what became of them, as paths: no font has to have them."""

KINDS = {
    "Task": "M9 8 L13 8 L19.5 20.5 M14.5 12 L9 20.5",
    "Service": "M14 7.5 L19.8 10.8 V17.3 L14 20.5 L8.2 17.3 V10.8 Z M8.2 10.8 L14 14 L19.8 10.8 M14 14 V20.5",
    "Map": "M8 11.5 H16 V19.5 H8 Z M11 8.5 H19.5 V16.5",
    "Parallel": "M9.5 8 V20 M14 8 V20 M18.5 8 V20",
    "Choice": "M14 7.5 L20.5 14 L14 20.5 L7.5 14 Z",
    "Wait": "M14 7.5 A6.5 6.5 0 1 1 13.99 7.5 Z M14 10.5 V14.3 L16.5 15.8",
    "Pass": "M8 14 H19 M15 9.5 L19.5 14 L15 18.5",
    "Succeed": "M8.5 14.5 L12.5 18.5 L19.5 10",
    "Fail": "M9.5 9.5 L18.5 18.5 M18.5 9.5 L9.5 18.5",
}
"""In a square of 28 px; a Task has Lambda's, or Service where it calls something else."""

STATUSES = {
    "succeeded": "M1.5 7 L5 10.5 L11.5 2.5",
    "failed": "M2 2 L11 11 M11 2 L2 11",
    "skipped": "M1.5 2 L6.5 6.5 L1.5 11 M6.5 2 L11.5 6.5 L6.5 11",
    "running": "M2.5 1.5 L11 6.5 L2.5 11.5 Z",
}
"""In a square of 13 px."""

RETRY = "M10 3.2 A4.5 4.5 0 1 0 10.6 7 M10.4 0.8 V3.6 H7.6"
"""In a square of 12 px."""
