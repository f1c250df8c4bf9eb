// Package bare tests the machine with bare guests on this host's own KVM: a
// guest that does rubbish to all that it can reach, and a thousand starts in a
// row. It has no code but its tests.
//
// The numbers of rounds suit `make test`. With SPLITVM_SOAK set they are those
// that the project promises: 1,000 seeds, 1,000 starts. A seed is repeated by
//
//	go test ./integration/bare -run TestRubbish -seed 123
package bare
