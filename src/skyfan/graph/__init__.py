"""The picture of a state machine, as SVG and Mermaid, drawn from its definition."""
