// Package remotetest is the contract of remote.LineStore and remote.VRegions as
// a test, for each implementation to pass.
package remotetest
