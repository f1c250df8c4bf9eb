// Package rack holds the tests of whole racks: the splitvm program in all its
// roles as processes of this host, driven by its own command line, with bare
// guests as vNodes. They look at what is left afterwards, too: processes,
// vRegions, lines and files.
package rack
