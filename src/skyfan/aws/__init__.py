"""The AWS side: what a Lambda runs, the package that it comes in, and the state machine around it."""
