package rack

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// repaired is a rack of three storage monitors with a volume of two replicas.
type repaired struct {
	*rack
	image []byte
}

func replicated(t *testing.T, names ...string) *repaired {
	r := &repaired{up(t, "--storages", "3", "--lease", "6s"), make([]byte, 12<<20)}
	rand.NewChaCha8([32]byte{2}).Read(r.image)
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, r.image, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		r.must("volume", "import", "--replicas", "2", name, file)
	}
	return r
}

// lose kills a storage monitor and waits until the rack knows.
func (r *repaired) lose(name string) {
	r.t.Helper()
	r.kill(name)
	r.eventually(name+" is away", func() bool { return r.happened("member.lost", name, "") })
}

// A volume that nobody uses has two replicas again after one of its monitors was removed,
// the same as before; the removed one is not taken back.
func TestRepairUnused(t *testing.T) {
	r := replicated(t, "db")
	lost, kept := r.volume("db").Monitors[0].Name, r.volume("db").Monitors[1].Name
	if out, err := r.try("monitor", "rm", lost); err == nil || !strings.Contains(out, "splitvm monitor drain "+lost) {
		t.Errorf("removed while it is up: %v, %s", err, out)
	}
	r.lose(lost)
	if out := r.must("monitor", "ls"); !strings.Contains(out, "away") {
		t.Errorf("no monitor is shown as away:\n%s", out)
	}
	r.must("monitor", "rm", lost)
	now := r.volume("db").Monitors
	if len(now) != 2 || now[0].Name == lost || now[1].Name == lost || now[0].Name == now[1].Name {
		t.Fatalf("db is at %+v, and was at %s and %s", now, lost, kept)
	}
	if !r.happened("volume.repair", "db", "1 of 2 replicas are left") || !r.happened("volume.repaired", "db", "2 of 2 replicas") {
		t.Error("no events tell of the repair")
	}
	if out := r.must("volume", "scrub", "db"); strings.Contains(out, "damaged") {
		t.Error(out)
	}
	r.lose(kept)
	for _, m := range now {
		if m.Name != kept && !bytes.Equal(r.content("db", m.Data[0]), r.image) {
			t.Errorf("db at %s is not what was written", m.Name)
		}
	}
}
