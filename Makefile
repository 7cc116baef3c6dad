# The verbs a person types. `make` alone lists them.

CARGO ?= cargo
PYTHON ?= python3
# cpu or cuda; empty keeps the ONNX Runtime that is there and else fetches the one for the CPU. For deps-torch, cuda adds
# libtorch's CUDA libraries.
DEVICE ?=
# openvino: ONNX Runtime with OpenVINO's kernels comes beside the other.
PROVIDER ?=
# no: `make test` leaves out the tests that need libtorch, and does not fetch it (544 MB).
TORCH ?= yes

# Cargo's default members are all crates but the trainer, which links libtorch; --workspace takes it in.
HAS_TORCH = [ -n "$${LIBTORCH:-}" ] || [ -e .deps/libtorch/FETCHED ]

comma := ,

help: ## list these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## translate a synthetic brain study by the trained networks, say where the result is; needs Rust alone
	$(CARGO) build --release --bin anomalens
	scripts/with-deps scripts/demo

test: deps ## run every test that is not slow (TORCH=no: without those of the trainer, which need libtorch)
	scripts/with-deps $(CARGO) test --release
	@if [ "$(TORCH)" = no ]; then \
	    echo "test: without libtorch, as TORCH=no says: the trainer was not tested; \`make test-torch\` does it"; \
	elif $(PYTHON) scripts/deps --can libtorch; then \
	    $(MAKE) --no-print-directory test-torch; \
	else \
	    echo "test: without libtorch: the trainer was not tested"; \
	fi

test-torch: deps deps-torch ## run the tests that need libtorch: the trainer's, and the trainer against the golden vectors
	@echo "test: with libtorch in $${LIBTORCH:-.deps/libtorch}"
	scripts/with-deps $(CARGO) test --release -p anomalens-trainer
	scripts/with-deps $(CARGO) test --release --workspace --features anomalens-tests/torch --test torch

train: deps-torch ## build target/release/anomalens-train
	$(CARGO) build --release --workspace --bins

train-demo: deps train ## synthetic brains, the demo's networks trained on them, their bundle, its scores (hours; resumable; SET='KEY=VALUE ...')
	scripts/with-deps "$${CARGO_TARGET_DIR:-target}/release/anomalens-train" fit recipes/demo.toml $(addprefix --set ,$(SET))

eval-demo: deps ## score the demo's bundle on 200 held-out synthetic slices (BUNDLE=DIR: another bundle; resumable)
	$(CARGO) build --release --bins
	BUNDLE='$(BUNDLE)' scripts/with-deps scripts/eval-demo

results: deps ## the paper's experiment on synthetic images: writes docs/results.md (within 2 hours on 2 cores; resumable; FULL=yes: more of it)
	$(CARGO) build --release --bins
	@FULL='$(FULL)' OUT='$(OUT)' PAGES='$(PAGES)' VALIDATION='$(VALIDATION)' TEST='$(TEST)' STEPS='$(STEPS)' \
	    scripts/with-deps $(PYTHON) scripts/results

bench: deps ## time both demo bundles by every engine that is here, 1 and 4 images at once (quiet machine; BENCH='...': other options)
	$(CARGO) build --release --bin anomalens
	scripts/with-deps "$${CARGO_TARGET_DIR:-target}/release/anomalens" bench models/demo models/demo-radiograph \
	    $(or $(BENCH),--engine ort$(comma)tract --batch 1$(comma)4)

quality: deps ## how few steps do, by solver and spacing: writes docs/steps.md (hours; resumable; SLICES=N, COUNTS=N,...: less of it)
	$(CARGO) build --release --bins
	$(CARGO) build --release --example lines
	@OUT='$(OUT)' PAGES='$(PAGES)' SLICES='$(SLICES)' COUNTS='$(COUNTS)' EXACT='$(EXACT)' \
	    scripts/with-deps $(PYTHON) scripts/quality

deps: ## fetch ONNX Runtime, DICOM test files and a brain template into .deps (DEVICE=cuda: ONNX Runtime for CUDA; PROVIDER=openvino: also with OpenVINO)
	$(PYTHON) scripts/deps $(if $(DEVICE),--device $(DEVICE)) onnxruntime $(PROVIDER) dicom nilearn

deps-torch: ## fetch libtorch into .deps: 544 MB (DEVICE=cuda: with its CUDA libraries, 2.5 GB)
	$(PYTHON) scripts/deps $(if $(DEVICE),--device $(DEVICE)) libtorch

lint: ## formatting, clippy and the documentation build, all without a warning (the trainer's where libtorch is there)
	$(CARGO) fmt --all --check
	@if $(HAS_TORCH); then set -x; \
	    $(CARGO) clippy --release --workspace --all-targets --features anomalens-tests/torch -- -D warnings && \
	    RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps; \
	else set -x; \
	    $(CARGO) clippy --release --all-targets -- -D warnings && \
	    RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps && \
	    { set +x; } 2>/dev/null && echo "lint: without libtorch: only the trainer's formatting was looked at; \`make deps-torch\` first"; \
	fi

clean: ## remove target and out; .deps stays
	rm -rf target out

.PHONY: help demo test test-torch train train-demo eval-demo results quality bench deps deps-torch lint clean
.DEFAULT_GOAL := help
