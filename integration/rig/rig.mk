# Targets of the nested rig; included by the top Makefile.
#   make rig RUN=regexp    run the matching tests of integration/inrig in one boot
#   make rig-shell         a shell in the rig, with splitvm, kernels, disk images and QEMU
#   make rig-fetch         fetch what the rig is made of
.PHONY: rig rig-shell rig-fetch
RIG = go run ./integration/rig/cmd/rig

rig:
	SPLITVM_REQUIRE=$${SPLITVM_REQUIRE:+$$SPLITVM_REQUIRE,}rig SPLITVM_RIG_RUN='$(RUN)' \
		go test -v -count=1 -timeout 60m -run '^TestInRig$$' ./integration/rig

rig-shell:
	@$(RIG) shell $(RIGFLAGS)

rig-fetch:
	@$(RIG) fetch
