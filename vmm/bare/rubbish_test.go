//go:build amd64

package bare

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/integration/require"
)

const at = 3 * mib // where the ops below write

// Ops do to memory what they say; ports and devices see them in
// integration/bare.
func TestOps(t *testing.T) {
	ops := []bare.Op{
		{Kind: bare.OpStore, Width: 8, Count: 1, Address: at, Value: 0x1122334455667788},
		{Kind: bare.OpStore, Width: 2, Count: 1, Address: at + 2, Value: 0xffffaaaa},
		{Kind: bare.OpLoad, Width: 4, Count: 1, Address: at},
		{Kind: bare.OpStoreSeen, Width: 8, Count: 1, Address: at + 8, Value: 1 << 63},
		{Kind: bare.OpSwap, Width: 1, Count: 1, Address: at + 8, Value: 0x5a},
		{Kind: bare.OpCopy, Count: 1, Address: at, Value: 15},
		{Kind: bare.OpVector, Count: 1, Address: at},
		{Kind: bare.OpStore, Width: 8, Count: 1, Address: at + 16, Value: ^uint64(0)},
		{Kind: bare.OpZero, Count: 1, Address: at + 17, Value: 4},
		{Kind: bare.OpSpin, Count: 3, Value: 10},
		{Kind: bare.OpStore, Width: 0, Count: 1000, Address: at + 0x1000, AddressMask: 0xff8, ValueMask: ^uint64(0)},
		{Kind: bare.OpStore, Width: 1, Count: 0, Address: at, Value: 1},
	}
	m := local(t, 4*mib)
	s := Spec{Program: bare.Rubbish, Table: bare.TableBytes(ops), Params: []bare.Params{{Seed: 5, Table: bare.TablesAt, TableCount: uint64(len(ops))}}}
	sys := require.System(t)
	r := run(t, sys, m, s)
	if got := r.VCPUs[0].Result.Accesses; got != 1012 {
		t.Errorf("%d ops done, want 1012", got)
	}
	var got []uint64
	for _, a := range []layout.GPA{at, at + 8, at + 16, bare.ScratchAt, bare.ScratchAt + 8} {
		w, err := m.Load64(a)
		must(t, err)
		got = append(got, w)
	}
	want := []uint64{0x11223344aaaa7788, 1<<63 | 0xaaaa775a, 0xffff_0000_0000_00ff, 0x11223344aaaa7788, 1<<63 | 0xaaaa775a}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	first, second := make([]byte, 0x1000), make([]byte, 0x1000)
	must(t, m.ReadAt(first, at+0x1000))
	run(t, sys, m, s) // the same seed writes the same
	must(t, m.ReadAt(second, at+0x1000))
	if diff := cmp.Diff(first, second); diff != "" || bytes.Count(first, []byte{0}) > 2048 {
		t.Errorf("random stores repeat differently: %s", diff)
	}
}

// Every port is a bare guest's to use, at every width.
func TestPorts(t *testing.T) {
	var ops []bare.Op
	for _, port := range []uint64{0, 0x33f, 0x340, 0x3f8, 0xcf8, 0x7fff, 0x8000, 0xfffc, 0xffff} {
		for _, width := range []uint8{1, 2, 4} {
			if port+uint64(width) <= 0x10000 {
				ops = append(ops, bare.Op{Kind: bare.OpIn, Width: width, Count: 1, Address: port}, bare.Op{Kind: bare.OpOut, Width: width, Count: 1, Address: port})
			}
		}
	}
	r := run(t, require.System(t), local(t, 4*mib), Spec{Program: bare.Rubbish, Table: bare.TableBytes(ops), Params: []bare.Params{{Seed: 1, Table: bare.TablesAt, TableCount: uint64(len(ops))}}})
	if got := r.VCPUs[0].Result.Accesses; got != uint64(len(ops)) {
		t.Errorf("%d of %d accesses done", got, len(ops))
	}
}
