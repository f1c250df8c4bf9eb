package blockwire

import (
	"reflect"
	"slices"
	"testing"

	"splitvm/remote"
	"splitvm/remote/wire"
)

func TestStructures(t *testing.T) {
	open := OpenRequest{Writer: true, Session: 0x1122334455667788, Name: "sha256:x/y"}
	var open2 OpenRequest
	if err := open2.Decode(open.Append(nil)); err != nil || open != open2 {
		t.Errorf("OPEN: %+v, %v", open2, err)
	}
	opened := Opened{Volume: 1, Size: 2, Epoch: 3, Monitor: 4, Boot: [16]byte{5, 15: 6}, Session: 7, ReadOnly: true, LeftOpen: true, Blank: true, Members: []remote.MonitorID{8, 9}}
	var opened2 Opened
	if err := opened2.Decode(opened.Append(nil)); err != nil || !reflect.DeepEqual(opened, opened2) {
		t.Errorf("answer to OPEN: %+v, %v", opened2, err)
	}
	claim := ClaimRequest{Session: 1, Steal: true, Closed: true, Members: []remote.MonitorID{2}, Away: []remote.MonitorID{3, 4}}
	var claim2 ClaimRequest
	if err := claim2.Decode(claim.Append(nil)); err != nil || !reflect.DeepEqual(claim, claim2) {
		t.Errorf("CLAIM: %+v, %v", claim2, err)
	}
	if got := Extents(AppendExtents(nil, []uint32{1, 1 << 31})); !slices.Equal(got, []uint32{1, 1 << 31}) {
		t.Errorf("extents: %v", got)
	}
}

// What a peer sends is decoded or refused; and what was decoded is encoded to the
// same again, as far as it is known.
func FuzzStructures(f *testing.F) {
	f.Add([]byte{}, uint8(Open), uint32(0), uint16(0))
	f.Add((&OpenRequest{Name: "v"}).Append(nil), uint8(Open), uint32(17), uint16(0))
	f.Add((&Opened{Members: []remote.MonitorID{1}}).Append(nil), uint8(Claim), uint32(72), uint16(0))
	f.Add((&ClaimRequest{Members: []remote.MonitorID{1}, Away: []remote.MonitorID{2}}).Append(nil), uint8(Write), uint32(4096), uint16(8))
	f.Fuzz(func(t *testing.T, b []byte, op uint8, length uint32, count uint16) {
		var open OpenRequest
		if open.Decode(b) == nil {
			var again OpenRequest
			if err := again.Decode(open.Append(nil)); err != nil || open != again {
				t.Errorf("%+v became %+v, %v", open, again, err)
			}
		}
		var opened Opened
		if opened.Decode(b) == nil {
			var again Opened
			if err := again.Decode(opened.Append(nil)); err != nil || !reflect.DeepEqual(opened, again) {
				t.Errorf("%+v became %+v, %v", opened, again, err)
			}
		}
		var claim ClaimRequest
		if claim.Decode(b) == nil {
			var again ClaimRequest
			if err := again.Decode(claim.Append(nil)); err != nil || !reflect.DeepEqual(claim, again) {
				t.Errorf("%+v became %+v, %v", claim, again, err)
			}
		}
		var changed ChangedRequest
		changed.Decode(b)
		Extents(b)
		h := wire.Header{Op: wire.Op(op), Length: length, Count: count}
		meta, payload, err := BodySize(&h)
		if err == nil && (meta < 0 || meta > wire.MaxMeta || payload < 0 || payload > remote.MaxBlockIO || meta+payload != int(length)) {
			t.Errorf("%v of %d bytes: meta %d, payload %d", h.Op, length, meta, payload)
		}
	})
}
