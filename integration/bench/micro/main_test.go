//go:build amd64

package micro

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// TestMain lets the test's own executable be a part.
func TestMain(m *testing.M) {
	if role := os.Getenv(partVariable); role != "" {
		if err := Part(context.Background(), role, testParts); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const partVariable = "SPLITVM_TEST_PART"

func testParts(ctx context.Context, role string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), partVariable+"="+role)
	return cmd
}
