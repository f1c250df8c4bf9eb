package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// companion finds a program that comes with splitvm: what the environment's
// variable names, or what lies beside splitvm or in ../lib/splitvm from there.
func companion(name, variable string) (string, error) {
	if p := os.Getenv(variable); p != "" {
		return p, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	dir := filepath.Dir(self)
	for _, p := range []string{filepath.Join(dir, name), filepath.Join(dir, "../lib/splitvm", name)} {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s is not beside %s: build both with `make`, or name it with %s=FILE", name, self, variable)
}
