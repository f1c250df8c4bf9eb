// Package testimages makes the container images that tests of whole guests run,
// out of Debian packages and without a registry or a container engine: one of busybox alone,
// one like Alpine's (a small C library's worth of files, busybox, a user and an entry
// point), one like Debian's (every essential package). Each has two layers at least,
// and the upper ones hide, replace and link to what the lower have.
//
// They are an OCI layout in a squashfs that a machine of the rig gets as a disk;
// tests push them to a registry of their own.
package testimages
