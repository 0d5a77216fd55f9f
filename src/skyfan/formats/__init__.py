"""How arrays lie in a file: native safetensors, torch's zip, numpy's zip. Nothing in a file is ever executed."""
