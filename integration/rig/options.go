package rig

import (
	"io"
	"os"
	"time"

	"splitvm/integration/rig/debs"
)

// Options say what machine to start. The zero value is one that will do.
type Options struct {
	Cache    *debs.Cache   // where packages are; nil is the user's cache folder
	Files    []File        // put into the machine's memory, so tens of megabytes at most
	Disks    []Disk        // further disks
	Scratch  int64         // size of /scratch, in bytes; 0 is 8 GiB. It takes up what is written to it
	CPUs     int           // 0 is 1; with more the emulated processor errs now and then (ARCHITECTURE.md, the rig's limit)
	Memory   int64         // in bytes; 0 is 6 GiB
	Cmdline  string        // added to the kernel's command line
	Console  io.Writer     // gets the kernel's console; may be nil
	Progress io.Writer     // gets a line for each thing that takes long; nil is the standard error
	Boot     time.Duration // how long to wait for the machine to be up; 0 is 5 minutes
	Hang     time.Duration // how long a sign of life may be missing before the machine counts as hung; 0 is 2 minutes
}

// A File is a file or a folder of the host and its place in the machine, an
// absolute path that is not below a folder of the image (/usr, /lib, /kernels ...).
type File struct{ Host, Rig string }

// A Disk is a raw image on the host that the machine sees as /dev/rig/Serial.
type Disk struct {
	Path     string
	Serial   string // at most 20 characters of a-z, 0-9 and -
	ReadOnly bool
}

const gib = 1 << 30

func (o Options) withDefaults() (Options, error) {
	if o.Progress == nil {
		o.Progress = os.Stderr
	}
	if o.Cache == nil {
		var err error
		if o.Cache, err = debs.Open("", o.Progress); err != nil {
			return o, err
		}
	}
	setDefault(&o.Scratch, 8*gib)
	setDefault(&o.CPUs, 1)
	setDefault(&o.Memory, 6*gib)
	setDefault(&o.Boot, 5*time.Minute)
	setDefault(&o.Hang, 2*time.Minute)
	return o, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
