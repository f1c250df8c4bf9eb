package bare

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"
)

// usage is what this process holds.
type usage struct {
	goroutines, files, threads, maps int
	resident                         int // bytes
}

func used(t testing.TB) usage {
	t.Helper()
	debug.FreeOSMemory()
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return usage{
		goroutines: runtime.NumGoroutine(), files: len(files), maps: bytes.Count(maps, []byte("\n")),
		threads: status(t, "Threads:"), resident: status(t, "VmRSS:") << 10,
	}
}

// status is a number in /proc/self/status.
func status(t testing.TB, key string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, rest, _ := bytes.Cut(b, []byte(key))
	fields := bytes.Fields(rest)
	n, err := strconv.Atoi(string(fields[0]))
	must(t, err)
	return n
}

// Go keeps threads and arenas for later: so many more of them are no leak.
const (
	spareThreads  = 10
	spareMaps     = 60
	spareResident = 48 * mib
)

func (u usage) exceeds(before usage) bool {
	return u.goroutines > before.goroutines || u.files > before.files || u.threads > before.threads+spareThreads ||
		u.maps > before.maps+spareMaps || u.resident > before.resident+spareResident
}

// leftBehind fails t if the process holds more than before, after it had time
// to settle: a thread dies a little later than its goroutine.
func leftBehind(t testing.TB, before usage) {
	t.Helper()
	after := used(t)
	for end := time.Now().Add(patience); time.Now().Before(end); after = used(t) {
		if !after.exceeds(before) {
			t.Logf("before %+v, after %+v", before, after)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("something is left behind: before %+v, after %+v", before, after)
}

// rounds is the number of rounds of this run.
func rounds(test, soak int) int {
	if os.Getenv("SPLITVM_SOAK") != "" {
		return soak
	}
	return test
}
