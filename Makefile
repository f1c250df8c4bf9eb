# splitvm: build, run, test. `make help` lists the targets.
GO ?= go
RUN ?= .

# Facilities whose absence fails a test instead of skipping it; CI demands all.
ifdef CI
REQUIRE ?= kvm,uffd,disks
else
REQUIRE ?=
endif

# The whole-guest tests of `make test`; `make rig` runs all there are.
RIGTESTS ?= ^(TestMachine|TestRun|TestRunWithoutInput|TestRunRemote)$$

.DEFAULT_GOAL := build
.PHONY: help build run test vet unit rigtest soak proto tools clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort | expand -t 14

build: ## build bin/splitvm, its global monitor, and the init that it gives guests
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w" -o bin/ ./cmd/...
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w" -o bin/splitvm-init ./guest/init

run: tools build ## bring a rack up, run a Linux vNode on it with remote memory and disk, show what happened
	$(GO) run ./integration/demo

test: tools vet unit rigtest ## everything that CI runs

vet: ## go vet and gofmt
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'd:"; gofmt -l .; exit 1; }
	$(GO) vet ./...

unit: ## all tests but those with whole guests, with the race detector
	SPLITVM_REQUIRE=$(REQUIRE) $(GO) test -race -timeout 20m ./...

rigtest: ## stock kernels under splitvm in the nested rig, local and remote memory
	SPLITVM_REQUIRE=rig,$(REQUIRE) SPLITVM_RIG_RUN='$(RIGTESTS)' $(GO) test -timeout 30m -count=1 -v -run '^TestInRig$$' ./integration/rig

soak: tools build ## the long proofs: thousands of rounds, fuzzing
	.ci/soak

proto: ## generate the Go of remote/api from its *.proto files; `make test` compares them
	$(GO) generate ./remote/api

tools: ## install the few Debian packages that building and testing need
	.ci/tools

clean: ## remove what was built; the cache of fetched packages stays
	rm -rf bin

include integration/rig/rig.mk
