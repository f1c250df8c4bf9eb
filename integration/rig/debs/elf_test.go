package debs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestResolve(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"usr/lib/x", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/lib/x/real.so.1.2"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"lib":                 "usr/lib",
		"usr/lib/x/near.so":   "real.so.1.2",
		"usr/lib/far.so":      "/lib/x/near.so",
		"etc/up.so":           "../../../../usr/lib/far.so",
		"etc/out":             "/etc/passwd",
		"etc/self":            "self",
		"usr/lib/x/dangle.so": "gone.so",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	real := filepath.Join(root, "usr/lib/x/real.so.1.2")
	for _, path := range []string{"/usr/lib/x/real.so.1.2", "/lib/x/real.so.1.2", "lib/x/near.so", "/usr/lib/far.so", "/etc/up.so", "/lib/../etc/./up.so"} {
		if got, err := resolve(root, path); err != nil || got != real {
			t.Errorf("%s: %s, %v; want %s", path, got, err, real)
		}
	}
	for _, path := range []string{"/etc/out", "/etc/self", "/usr/lib/x/dangle.so", "/nothing"} {
		if got, err := resolve(root, path); err == nil {
			t.Errorf("%s: %s, want an error: the tree hasn't it", path, got)
		}
	}
}
