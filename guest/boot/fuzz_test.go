package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/bobuhiro11/gokvm/bootparam"

	"splitvm/guest/layout"
)

const (
	fuzzMemory = 64 << 20
	// fuzzInflated bounds what an input may say that it decompresses to, so that
	// the fuzzer spends its time on other things.
	fuzzInflated = 4 << 20
)

// bounds fails when anything is written outside RAM, and keeps nothing.
type bounds struct {
	t testing.TB
	m layout.Map
}

func (b bounds) WriteAt(p []byte, gpa layout.GPA) error {
	if !b.m.Contains(gpa, uint64(len(p))) {
		b.t.Errorf("%d bytes written at %#x, outside RAM", len(p), gpa)
	}
	return nil
}

// checkPlan holds a plan to what its type promises, and places it.
func checkPlan(t *testing.T, m layout.Map, plan *Plan, err error) {
	t.Helper()
	if err != nil {
		return
	}
	var last layout.GPA
	for _, s := range plan.Segments {
		if s.GPA < last || !m.Contains(s.GPA, s.Size) || s.Size == 0 || s.Contents() > s.Size || s.Source != nil && s.Data != nil {
			t.Errorf("segment %s at %#x, %#x bytes, after %#x", s.Name, s.GPA, s.Size, last)
		}
		last = s.end()
	}
	for _, e := range plan.Entries {
		if !m.Contains(layout.GPA(e.RIP), 1) || e.CR3 != 0 && !m.Contains(layout.GPA(e.CR3), layout.PageSize) {
			t.Errorf("entry %+v", e)
		}
	}
	if err := plan.Place(bounds{t, m}); err != nil && !errors.Is(err, ErrImage) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("place: %v", err)
	}
}

func FuzzBzImage(f *testing.F) {
	small := smallKernel().build(f)
	for _, c := range compressors {
		f.Add(bzSpec{payload: c.payload(f, small)}.build(f))
	}
	payload := compressors[0].payload(f, small)
	for _, edit := range []func(*bootparam.SetupHeader){
		func(h *bootparam.SetupHeader) { h.PayloadOffset = 0xFFFF_FFFF },
		func(h *bootparam.SetupHeader) { h.PayloadLength = 0xFFFF_FFFF },
		func(h *bootparam.SetupHeader) { h.PrefAddress, h.InitSize = ^uint64(0), 0xFFFF_FFFF },
		func(h *bootparam.SetupHeader) { h.InitrdAddrMax = 1 },
		func(h *bootparam.SetupHeader) { h.SetupSects, h.CmdlineSize = 0, 0 },
		func(h *bootparam.SetupHeader) { h.Jump = 0xFFEB },
		func(h *bootparam.SetupHeader) { h.XloadFlags = 0 },
	} {
		f.Add(bzSpec{payload: payload, edit: edit}.build(f))
	}
	f.Fuzz(func(t *testing.T, img []byte) {
		if len(img) > 1<<20 {
			return
		}
		if hdr, err := readSetupHeader(bytes.NewReader(img), int64(len(img))); err == nil {
			if off, n, err := payloadAt(hdr, int64(len(img))); err == nil && binary.LittleEndian.Uint32(img[off+n-4:]) > fuzzInflated {
				return
			}
		}
		m := testMap(t, fuzzMemory)
		initrd := bytes.NewReader(make([]byte, 5000))
		plan, err := Load(bytes.NewReader(img), int64(len(img)), Params{Memory: m, Cmdline: "quiet", Initrd: initrd, InitrdSize: 5000})
		checkPlan(t, m, plan, err)
	})
}

func FuzzELF(f *testing.F) {
	f.Add(smallKernel().build(f))
	f.Add(pvhKernel([]byte{0x50, 0, 0, 1}).build(f))
	f.Add(bareProgram().build(f))
	img := pvhKernel([]byte{0x50, 0, 0, 1, 0, 0, 0, 0}).build(f)
	for off := 16; off < 0x100; off += 8 { // each field of the headers at an extreme
		c := bytes.Clone(img)
		binary.LittleEndian.PutUint64(c[off:], 0x7FFF_FFFF_FFFF_FFFF)
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, img []byte) {
		if len(img) > 1<<20 {
			return
		}
		m := testMap(t, fuzzMemory)
		plan, err := Load(bytes.NewReader(img), int64(len(img)), Params{Memory: m, Cmdline: "quiet"})
		checkPlan(t, m, plan, err)
		plan, err = LoadBare(bytes.NewReader(img), int64(len(img)), BareParams{Memory: m, VCPUs: make([]BareArgs, 2), StackSize: 4096})
		checkPlan(t, m, plan, err)
	})
}

// FuzzDecompress reads payloads of every format to their end: twice, as what
// starts again must give the same.
func FuzzDecompress(f *testing.F) {
	small := smallKernel().build(f)
	for _, c := range compressors {
		f.Add(c.payload(f, small))
	}
	for _, v := range vectors {
		f.Add(vectorPayload(f, v.payload, len(small)))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if n := len(payload); n < 4 || n > 1<<20 || binary.LittleEndian.Uint32(payload[n-4:]) > fuzzInflated {
			return
		}
		src, err := inflate(bytes.NewReader(payload), int64(len(payload)))
		if err != nil {
			return
		}
		defer src.Close()
		once, err1 := io.ReadAll(io.NewSectionReader(src, 0, src.size))
		twice, err2 := io.ReadAll(io.NewSectionReader(src, 0, src.size))
		if int64(len(once)) > src.size || !bytes.Equal(once, twice) || (err1 == nil) != (err2 == nil) {
			t.Errorf("%s: %d bytes, then %d, of %d; %v, %v", src.format, len(once), len(twice), src.size, err1, err2)
		}
		if err1 != nil && !errors.Is(err1, ErrImage) {
			t.Errorf("%s: %v", src.format, err1)
		}
		if err1 == nil && int64(len(once)) != src.size {
			t.Errorf("%s: %d of %d bytes without an error", src.format, len(once), src.size)
		}
	})
}
