# make demo    the whole thing on a small simulated survey
# make test    the test suite
# make check   format, lint, types, import layers, docs
# make bench   speed and memory, recorded in benchmarks/
# make docs    the documentation, into docs/_build
# make model-table  how good the shipped models are, beside baselines: the tables of docs/model.md

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check bench model-table docs format clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo.done
	$(BIN)/skyfan demo

test: $(VENV)/dev.done
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/dev.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build

docs: $(VENV)/dev.done
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build

bench: $(VENV)/dev.done
	$(BIN)/python benchmarks/run.py $(ARGS)

model-table: $(VENV)/dev.done
	$(BIN)/python benchmarks/photoz.py $(ARGS)
	$(BIN)/python benchmarks/anomalies.py

format: $(VENV)/dev.done
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) docs/_build

# A stamp per set of extras: made anew when the dependencies change.
$(VENV)/venv.done:
	$(PYTHON) -c 'import sys; sys.exit("skyfan needs Python 3.11 or newer; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/demo.done: $(VENV)/venv.done pyproject.toml constraints.txt
	$(PIP) --editable '.[simulate]'
	touch $@

$(VENV)/dev.done: $(VENV)/venv.done pyproject.toml constraints.txt
	$(PIP) --editable '.[simulate,train,ingest,plots,catalog,dask,aws,dev]'
	$(PIP) --no-deps ministack # it asks for an older botocore than boto3's; with ours it does as well
	touch $@
