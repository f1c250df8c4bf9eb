# Targets of the nested rig; included by the top Makefile. RIGFLAGS are flags of
# `rig shell`: make rig-shell RIGFLAGS='--mem 8 --disk ./disk.raw:mine'
GO ?= go
.PHONY: rig rig-shell rig-fetch

# $(value ...), as a regular expression may have dollars in it.
rig: ## whole-guest tests in the rig that match RUN=regexp, in one boot
	SPLITVM_REQUIRE=$${SPLITVM_REQUIRE:+$$SPLITVM_REQUIRE,}rig SPLITVM_RIG_RUN='$(value RUN)' \
		$(GO) test -v -count=1 -timeout 60m -run '^TestInRig$$' ./integration/rig

# The shell's own status is no failure of make; rig's own, 125, is.
rig-shell: ## a shell in the rig, with splitvm, kernels, guest roots and QEMU
	@mkdir -p bin && $(GO) build -o bin/rig ./integration/rig/cmd/rig
	@bin/rig shell $(RIGFLAGS) || [ $$? -ne 125 ]

rig-fetch: ## fetch what the rig is made of, for work without a network
	@$(GO) run ./integration/rig/cmd/rig fetch
