package handoff

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"splitvm/ept"
)

func goodAttach() *Attach {
	return &Attach{VNode: "v", Session: 1, Capacity: 1024, Monitors: []string{"a:1", "b:1"},
		Layout:  ept.Layout{RegionLines: 1024, Shards: 1, Slots: []ept.Slot{{HVA: 0x10000000, Size: 8 << 20}}},
		Regions: []Region{{Index: 1, ID: 2, Epoch: 1, Owners: []uint16{1}}, {Index: 0, ID: 1, Epoch: 1, Owners: []uint16{0, 1}}}}
}

func frame(raw []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(raw))), raw...)
}

func TestReceiveAttach(t *testing.T) {
	raw, err := json.Marshal(Message{ID: 7, Attach: goodAttach()})
	if err != nil {
		t.Fatal(err)
	}
	m, err := receive(bytes.NewReader(frame(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if m.ID != 7 || m.Attach == nil || m.Attach.Regions[0].Index != 0 || len(m.Attach.Regions[0].Owners) != 2 {
		t.Errorf("received %+v", m)
	}
}

func TestAttachIsChecked(t *testing.T) {
	for name, damage := range map[string]func(*Attach){
		"no slots":        func(a *Attach) { a.Layout.Slots = nil },
		"no monitors":     func(a *Attach) { a.Monitors = nil },
		"too many shards": func(a *Attach) { a.Layout.Shards = maxFDs },
		"shards negative": func(a *Attach) { a.Layout.Shards = -1 },
		"half a line":     func(a *Attach) { a.Layout.Slots[0].Size++ },
		"address wraps":   func(a *Attach) { a.Layout.Slots[0].HVA = ^ept.HVA(0) &^ 0xfff },
		"guest too large": func(a *Attach) { a.Layout.Slots[0].GPA = 1 << 60 },
		"offset negative": func(a *Attach) { a.Layout.Slots[0].Offset = -4096 },
		"slots overlap":   func(a *Attach) { a.Layout.Slots = append(a.Layout.Slots, a.Layout.Slots[0]) },
		"odd vRegion":     func(a *Attach) { a.Layout.RegionLines = 1000 },
		"placed twice":    func(a *Attach) { a.Regions[1].Index = a.Regions[0].Index },
		"no owner":        func(a *Attach) { a.Regions[0].Owners = nil },
		"no id":           func(a *Attach) { a.Regions[0].ID = 0 },
		"unknown owner":   func(a *Attach) { a.Regions[0].Owners = []uint16{2} },
	} {
		t.Run(name, func(t *testing.T) {
			a := goodAttach()
			damage(a)
			if err := a.check(); err == nil {
				t.Error("accepted")
			}
		})
	}
	if err := goodAttach().check(); err != nil {
		t.Errorf("a good one is refused: %v", err)
	}
}

func TestReceiveRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"too long":     {binary.LittleEndian.AppendUint32(nil, MaxMessage+1), "at most"},
		"cut short":    {frame([]byte("{}"))[:5], "cut short"},
		"no JSON":      {frame([]byte("hello")), "malformed"},
		"nothing":      {frame([]byte("{}")), "0 contents"},
		"two contents": {frame([]byte(`{"resize":{},"done":{}}`)), "2 contents"},
	} {
		if _, err := receive(bytes.NewReader(c.raw)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzReceive(f *testing.F) {
	raw, _ := json.Marshal(Message{Attach: goodAttach()})
	f.Add(frame(raw))
	f.Add(frame([]byte(`{"resize":{"capacity":5}}`)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := receive(bytes.NewReader(raw))
		if err != nil || m.Attach == nil {
			return
		}
		if n := m.Attach.Layout.Lines(); n == 0 || n > 1<<32 {
			t.Fatalf("accepted a layout of %d lines", n)
		}
		for _, r := range m.Attach.Regions {
			if len(r.Owners) == 0 && r.ID != 0 {
				t.Fatal("accepted a vRegion that has no owners and is not to be placed")
			}
		}
	})
}

func FuzzParseRights(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, control []byte) {
		if len(control) >= 16 && binary.LittleEndian.Uint32(control[12:]) == 1 {
			return // it would close descriptors of the test
		}
		if _, err := parseRights(control); err != nil && !errors.Is(err, errMessage) {
			t.Errorf("error %v", err)
		}
	})
}
