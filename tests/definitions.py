"""State machines of every shape, with names that nobody would choose."""

from typing import Any

from hypothesis import strategies as st

LAMBDA = "arn:aws:states:::lambda:invoke"
NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from("<>&\"'`#;|{}[]()\\/%-_*+=:.,!?~^@$ \n\t\x00\x1b\u202e \ud800e🛰星é"), st.characters()
    ),
    max_size=30,
)
ERRORS = st.lists(st.sampled_from(["States.ALL", "States.Timeout", "A<b>", "Lambda.Unknown"]), min_size=1, max_size=4)
OPERATORS = st.sampled_from(["NumericGreaterThan", "StringEquals", "IsPresent", "BooleanEquals", "StringMatches"])


@st.composite
def definitions(draw: st.DrawFn, names: list[str] | None = None, depth: int = 0) -> dict[str, Any]:
    """A valid definition: any transitions, cycles and edges to itself too; Maps and Parallels two deep."""
    taken = [] if names is None else names
    here = []
    for _ in range(draw(st.integers(1, 6 if depth == 0 else 3))):
        here.append(f"{draw(NASTY)}{len(taken)}")
        taken.append(here[-1])
    states = {name: draw(_states(here, taken, depth)) for name in here}
    return {"StartAt": draw(st.sampled_from(here)), "States": states, "Comment": draw(NASTY)}


@st.composite
def _states(draw: st.DrawFn, here: list[str], taken: list[str], depth: int) -> dict[str, Any]:
    kinds = ["Task", "Task", "Pass", "Wait", "Choice", "Succeed", "Fail", *(["Map", "Parallel"] if depth < 2 else [])]
    kind = draw(st.sampled_from(kinds))
    state: dict[str, Any] = {"Type": kind}
    target = st.sampled_from(here)
    if kind == "Choice":
        state["Choices"] = [
            {"Variable": f"$.{draw(NASTY)}", draw(OPERATORS): draw(NASTY | st.integers() | st.booleans()), "Next": to}
            for to in draw(st.lists(target, min_size=1, max_size=3))
        ]
        if draw(st.booleans()):
            state["Default"] = draw(target)
    elif kind == "Fail":
        state |= {"Error": draw(NASTY), "Cause": draw(NASTY)}
    elif kind not in {"Succeed", "Fail"}:
        state |= draw(st.one_of(st.just({"End": True}), target.map(lambda to: {"Next": to})))
    if kind in {"Task", "Map", "Parallel"}:
        state["Catch"] = [
            {"ErrorEquals": errors, "Next": draw(target)} for errors in draw(st.lists(ERRORS, max_size=2))
        ]
        state["Retry"] = [
            {"ErrorEquals": errors, "MaxAttempts": draw(st.integers(0, 99))}
            for errors in draw(st.lists(ERRORS, max_size=8))
        ]
    if kind == "Task":
        state["Resource"] = draw(
            st.sampled_from([LAMBDA, "arn:aws:states:::sns:publish"]) | NASTY.map(lambda t: f"x{t}")
        )
    elif kind == "Wait":
        state["Seconds"] = draw(st.integers(0, 10**6))
    elif kind == "Map":
        state["ItemProcessor"] = draw(definitions(taken, depth + 1))
    elif kind == "Parallel":
        state["Branches"] = [draw(definitions(taken, depth + 1)) for _ in range(draw(st.integers(1, 3)))]
    return state
