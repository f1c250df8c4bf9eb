package main

import (
	"fmt"

	"github.com/docker/go-units"
)

// parseSize reads a size such as 512M, 2G or 1TiB; units are powers of 1024.
func parseSize(s string) (uint64, error) {
	n, err := units.RAMInBytes(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("size %q: give a number with a unit, such as 512M or 2G", s)
	}
	return uint64(n), nil
}

// sizeFlag checks a flag's value when it is parsed, so that the error names it.
func sizeFlag(s string) error {
	_, err := parseSize(s)
	return err
}
