// Package bare runs the programs of guest/bare on a VM of their own: it places
// program and parameters in given RAM, starts the vCPUs, serves the two ports,
// and collects what the program reports.
//
// RAM is the caller's and may be of any kind, local or remote; what was in it
// beyond the first 2 MiB stays, so a second program can go on with what a first
// one wrote. Nothing here keeps a page from being absent.
//
// Lock order: guest.mu alone. A vCPU that waits at a mark, or has ended, waits
// on its own thread outside the lock.
package bare
