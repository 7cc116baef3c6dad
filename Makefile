# The verbs a person types. `make` alone lists them.

CARGO ?= cargo
PYTHON ?= python3
# cpu or cuda; empty keeps the ONNX Runtime that is there and else fetches the one for the CPU.
DEVICE ?=

help: ## list these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: deps ## make a bundle, translate a real MR image with it, say where the result is
	$(CARGO) build --release --workspace --bins
	scripts/with-deps scripts/demo

test: deps ## run every test that is not slow; needs no libtorch
	scripts/with-deps $(CARGO) test --release --workspace

deps: ## fetch ONNX Runtime, DICOM test files and a brain template into .deps (DEVICE=cuda: ONNX Runtime for CUDA)
	$(PYTHON) scripts/deps $(if $(DEVICE),--device $(DEVICE)) onnxruntime dicom nilearn

deps-torch: ## fetch libtorch into .deps
	$(PYTHON) scripts/deps libtorch

lint: ## formatting, clippy and the documentation build, all without a warning
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps

clean: ## remove target and out; .deps stays
	rm -rf target out

.PHONY: help demo test deps deps-torch lint clean
.DEFAULT_GOAL := help
