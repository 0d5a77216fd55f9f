"""The colours of the pictures, light and dark. A page that holds one inline may set any of them as `--skyfan-NAME`."""

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b2430",
    "muted": "#56616e",
    "line": "#6b7684",
    "edge": "#b4bdc8",
    "box": "#ffffff",
    "cluster": "#f5f7fa",
    "task": "#2764a8",
    "map": "#0b7075",
    "parallel": "#0b7075",
    "choice": "#7443b5",
    "wait": "#8f5a00",
    "pass": "#56616e",
    "succeed": "#1c7a43",
    "fail": "#b3261e",
    "catch": "#b3261e",
    "sign": "#ffffff",
    "succeeded": "#1c7a43",
    "failed": "#b3261e",
    "skipped": "#56616e",
    "running": "#2764a8",
    "succeeded-tint": "#eef8f1",
    "failed-tint": "#fdf0ef",
    "skipped-tint": "#f4f5f7",
    "running-tint": "#eef4fb",
}
"""By name; `sign` lies on the colours of kinds, everything else on `paper`, `box`, `cluster` or a tint."""

DARK = {
    "paper": "#12161c",
    "ink": "#e8edf3",
    "muted": "#a3aebb",
    "line": "#8b97a5",
    "edge": "#4a5563",
    "box": "#1d232b",
    "cluster": "#171c23",
    "task": "#7db4f0",
    "map": "#55c8cc",
    "parallel": "#55c8cc",
    "choice": "#c3a0f2",
    "wait": "#e8b45a",
    "pass": "#a3aebb",
    "succeed": "#6fd196",
    "fail": "#ff9a90",
    "catch": "#ff9a90",
    "sign": "#12161c",
    "succeeded": "#6fd196",
    "failed": "#ff9a90",
    "skipped": "#a3aebb",
    "running": "#7db4f0",
    "succeeded-tint": "#16271d",
    "failed-tint": "#2e1b1b",
    "skipped-tint": "#191e25",
    "running-tint": "#172434",
}
FONTS = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', Helvetica, Arial, sans-serif"

_RULES = """
text { fill: var(--ink); font-family: FONTS; }
.name, .mark { font-weight: 600; }
.detail, .note, .retry { fill: var(--muted); }
.paper { fill: var(--paper); }
.box { fill: var(--box); stroke: var(--edge); stroke-width: 1.2; }
.cluster { fill: var(--cluster); stroke: var(--tone); stroke-width: 1.4; stroke-dasharray: 6 4; }
.branch { fill: var(--paper); stroke: var(--edge); stroke-width: 1.2; stroke-dasharray: 4 3; }
.icon { fill: var(--tone); }
.sign { fill: none; stroke: var(--sign); stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.tick { fill: none; stroke: var(--tone); stroke-width: 1.9; stroke-linecap: round; stroke-linejoin: round; }
.retry-sign { --tone: var(--muted); stroke-width: 1.4; }
.terminal { fill: var(--ink); }
.terminal-text { fill: var(--paper); font-weight: 600; }
.ring { fill: var(--paper); stroke: var(--ink); stroke-width: 1.6; }
.way { fill: none; stroke: var(--line); stroke-width: 1.6; }
.tip { fill: var(--line); }
.plate { fill: var(--paper); stroke: var(--edge); }
.catch .way { stroke: var(--catch); stroke-dasharray: 5 4; }
.catch .tip { fill: var(--catch); }
.catch .plate { stroke: var(--catch); }
.catch text { fill: var(--catch); }
.marked .box, .marked .cluster { fill: var(--tint); stroke: var(--status); stroke-width: 2; }
.marked .mark { fill: var(--status); }
.marked .tick { --tone: var(--status); }
.marked .retry-sign { --tone: var(--muted); }
.skipped .box { stroke-dasharray: 3 3; }
"""


def style() -> str:
    """Return the style sheet of a picture; every rule is below `.skyfan-graph`, so that it changes nothing else."""
    root = ".skyfan-graph"
    rules = "\n".join(_below(root, rule) for rule in _RULES.replace("FONTS", FONTS).strip().splitlines())
    kinds = "\n".join(f"{root} .{name} {{ --tone: var(--{name}); }}" for name in _KINDS)
    marks = "\n".join(
        f"{root} .marked.{name} {{ --status: var(--{name}); --tint: var(--{name}-tint); }}" for name in _MARKS
    )
    dark = f"@media (prefers-color-scheme: dark) {{\n{root} {{ {_variables(DARK)} }}\n}}"
    return f"{root} {{ max-width: 100%; height: auto; {_variables(LIGHT)} }}\n{dark}\n{kinds}\n{marks}\n{rules}"


_KINDS = ("task", "map", "parallel", "choice", "wait", "pass", "succeed", "fail")
_MARKS = ("succeeded", "failed", "skipped", "running")


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: var(--skyfan-{name}, {colour});" for name, colour in colours.items())


def _below(root: str, rule: str) -> str:
    selectors, body = rule.split(" {", 1)
    return f"{', '.join(f'{root} {selector}' for selector in selectors.split(', '))} {{{body}"
