# Everything a developer or CI runs. `make help` lists the targets.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: help venv lock audit base-image lint schema dashboard chart picture figures site unit exhaustive process install e2e docs-test test demo bench fairness dns-bench scale cli-bench view-bench soak chaos peers moving fuzz fuzz-short
.DEFAULT_GOAL := help

include tests/cluster/cluster.mk

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 16

venv: $(VENV)/.complete  ## make the virtual environment from the hash-locked requirements

$(VENV)/.complete: tests/requirements.txt
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
	rm -rf $(VENV)
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement tests/requirements.txt
	touch $@

# One resolution for all: the tests' comes first, the images take their versions from it, and the extras keep theirs.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml
# What libraries say they need and what no process of an image imports; tests/unit/test_images.py runs them without.
# kubernetes' asyncio client: aiohttp-retry; the parts of acme beside its JWS: pyopenssl (oci of the DNS extras does
# import it), pyrfc3339; cffi where it makes bindings: pycparser.
JOB_LACKS := --no-emit-package aiohttp-retry --no-emit-package pycparser --no-emit-package pyrfc3339
lock:  ## write the hash-locked requirements anew from pyproject.toml (needs uv)
	$(LOCK) --extra job --extra webhook --extra cli --extra dev --output-file tests/requirements.txt
	cp tests/requirements.txt issuer_job/requirements.txt
	$(LOCK) --extra job $(JOB_LACKS) --no-emit-package pyopenssl --output-file issuer_job/requirements.txt
	cat tests/requirements.txt issuer_job/requirements-dns-extras.txt > issuer_job/extras.tmp
	mv issuer_job/extras.tmp issuer_job/requirements-dns-extras.txt
	$(LOCK) --extra job --extra dns-extras $(JOB_LACKS) --output-file issuer_job/requirements-dns-extras.txt
	cp tests/requirements.txt webhook/requirements.txt
	$(LOCK) --extra webhook --no-emit-package pycparser --output-file webhook/requirements.txt
	cp tests/requirements.txt tests/cluster/site.txt
	$(filter-out pyproject.toml,$(LOCK)) --group site --output-file tests/cluster/site.txt

audit: venv  ## whether anything is known against the locked versions (ADVISORIES=PATH of a database)
	$(PY) -m supply.audit $(ADVISORIES)

BASE := python:3.13-slim
base-image:  ## pin the images' base to what its tag names today (needs docker with buildx)
	set -e -o pipefail; digest=$$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' $(BASE)); \
	[[ $$digest =~ ^sha256:[0-9a-f]{64}$$ ]]; \
	sed -i -E "s|^ARG PYTHON_IMAGE=.*|ARG PYTHON_IMAGE=$(BASE)@$$digest|" Dockerfile.job Dockerfile.webhook

lint: venv  ## ruff, mypy --strict and the import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

schema: venv  ## write what of docs/ is made from the code anew: the JSON Schemas, tables
	$(PY) -m tests.schema

dashboard: venv  ## write the dashboard for Grafana anew from its table
	$(PY) -m supply.dashboard

chart: venv  ## write the Helm chart's templates, schema and page anew from manifests/ and its values.yaml
	$(PY) -m supply.chart "$$(python3 -m tests.cluster which kubectl)"

picture: venv  ## draw docs/architecture.svg and docs/phases.svg anew from the code
	$(PY) -m tests.architecture.picture
	$(PY) -m tests.architecture.phases $$(python3 -m tests.cluster which dot)

figures: cluster-site  ## draw docs/bench.svg and write README's table anew from docs/bench.json, which make bench keeps
	PYTHONPATH=$$(python3 -m tests.cluster which site) python3 -m supply.figures

SITE := .site
site: cluster-site  ## make the pages of docs/ and README as a site, in .site/html (SITE=DIRECTORY: elsewhere)
	PYTHONPATH=$$(python3 -m tests.cluster which site) python3 -m sphinx -q -W -n -E -c docs -d $(SITE)/doctrees . $(SITE)/html
	cp $(SITE)/html/README.html $(SITE)/html/index.html

PYTEST := $(VENV)/bin/pytest -q -n 2 --dist worksteal
# Compiled assertions are kept for the next time, whatever the environment says of bytecode.
unit exhaustive process: export PYTHONDONTWRITEBYTECODE :=

unit: venv  ## the fast tests, no cluster
	$(PYTEST) -m "not process and not exhaustive" tests/unit tests/selftests

exhaustive: venv  ## the unit tests of every write and every odd answer, no cluster
	$(PYTEST) -m "exhaustive and not process" tests/unit

process: venv cluster-helm cluster-monitoring cluster-browser cluster-workflows cluster-site  ## the unit tests that start processes, no cluster
	$(PYTEST) --dist loadfile -m process tests/unit tests/selftests

install: cluster  ## install certjob on the local cluster
	tests/cluster/run tests/cluster/install --restart

e2e: venv cluster-helm cluster-monitoring cluster-peers install  ## the end-to-end tests on the local cluster
	tests/cluster/run $(VENV)/bin/pytest -v --durations=10 tests/e2e

docs-test: venv install  ## run every command that the documents show, on the local cluster (part of e2e)
	tests/cluster/run $(VENV)/bin/pytest -v tests/e2e/test_pages.py

moving: venv install  ## move 50 certificates from cert-manager and back on the local cluster (part of e2e with 12)
	CERTJOB_MOVED=50 tests/cluster/run $(VENV)/bin/pytest -v tests/e2e/test_moving.py

fuzz: venv  ## fuzz everything that reads what strangers wrote, 5 minutes a target
	$(PY) -m tests.fuzz $(FUZZ)

fuzz-short: venv  ## a thousand inputs for each of those targets, the same each time
	$(PY) -m tests.fuzz --inputs 1000

test: lint unit exhaustive process fuzz-short e2e  ## everything that CI checks

demo: venv install  ## one Ingress on the local cluster, with the timeline of what happens
	tests/cluster/run $(VENV)/bin/python -m tests.demo

bench: venv  ## measure on the running local cluster: single applies, burst, admission, memory
	tests/cluster/run $(VENV)/bin/python -m tests.load.bench $(BENCH)

fairness: venv  ## what one namespace's certificates take beside 200 of another, on the running local cluster
	tests/cluster/run $(VENV)/bin/python -m tests.load.fairness $(BENCH)

dns-bench: venv  ## measure DNS-01 on the running local cluster: single wildcards, burst
	tests/cluster/run $(VENV)/bin/python -m tests.load.dns_bench $(BENCH)

scale: venv  ## what a sweep over 10,000 certificates takes
	tests/cluster/run $(VENV)/bin/python -m tests.load.scale $(BENCH)

view-bench: venv  ## memory of the view, scrapes and pages, with 100 and 10,000 certificates; no cluster
	$(PY) -m tests.load.view

cli-bench: venv  ## what kubectl certjob status of 100 and of 10,000 certificates takes
	tests/cluster/run $(VENV)/bin/python -m tests.load.cli_bench $(BENCH)

soak: venv  ## 40 minutes of ten-minute certificates, watched
	tests/cluster/run $(VENV)/bin/python -m tests.load.soak $(BENCH)

chaos: venv  ## a burst while Pebble, the webhook and the API server fail
	tests/cluster/run $(VENV)/bin/python -m tests.load.chaos $(BENCH)

peers: venv cluster-peers  ## ACME servers that others wrote, every case at each and an hour of short certificates
	tests/cluster/run $(VENV)/bin/python -m tests.load.peers $(PEERS)

# The version that the row `upgrade` comes from and goes back to.
.PHONY: faults
FROM ?= $(shell git describe --tags --abbrev=0 2>/dev/null)
faults: venv  ## every fault on the running local cluster, one after the other (FAULTS="--only NAME": some)
	$(PY) -m tests.load.faults.former $(FROM)
	tests/cluster/run $(VENV)/bin/python -m tests.load.faults $(FAULTS)
