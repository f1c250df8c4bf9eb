package oci

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// parse reads an image's name in a registry.
func parse(reference string, plainHTTP bool) (name.Reference, error) {
	var options []name.Option
	if plainHTTP {
		options = append(options, name.Insecure)
	}
	ref, err := name.ParseReference(reference, options...)
	if err != nil {
		return nil, fmt.Errorf("%w: give [REGISTRY/]NAME[:TAG] or [REGISTRY/]NAME@sha256:DIGEST", err)
	}
	return ref, nil
}

// FullName is the name by which the store knows what a user calls an image. What
// is no image's name, an ID say, is returned as it is.
func FullName(reference string) string {
	ref, err := parse(reference, false)
	if err != nil {
		return reference
	}
	return ref.Name()
}

// Short is the shortest that FullName makes the full name of.
func Short(full string) string {
	short := strings.TrimPrefix(full, name.DefaultRegistry+"/")
	short = strings.TrimPrefix(short, "library/")
	if FullName(short) != full {
		return full
	}
	return short
}
