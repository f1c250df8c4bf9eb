package blockwire

import (
	"encoding/binary"

	"splitvm/remote"
)

// maxMembers bounds the replicas of a volume.
const maxMembers = 16

// OpenRequest is the meta part of OPEN:
//
//	0  u8   flags: 1 go on as the writer that claimed it in this session
//	1  u8[7] reserved, 0
//	8  u64  session
//	16      name
type OpenRequest struct {
	Writer  bool
	Session remote.SessionID
	Name    string
}

const openSize = 16

// Append encodes the request.
func (o *OpenRequest) Append(b []byte) []byte {
	flags := uint64(0)
	if o.Writer {
		flags = 1
	}
	b = binary.LittleEndian.AppendUint64(b, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(o.Session))
	return append(b, o.Name...)
}

// Decode decodes it; an error is of kind remote.Protocol.
func (o *OpenRequest) Decode(b []byte) error {
	if len(b) <= openSize || len(b) > openSize+256 {
		return errBody
	}
	*o = OpenRequest{
		Writer:  b[0]&1 != 0,
		Session: remote.SessionID(binary.LittleEndian.Uint64(b[8:])),
		Name:    string(b[openSize:]),
	}
	return nil
}

// Opened is the meta part of the answer to OPEN:
//
//	0   u64  volume
//	8   u64  size in bytes
//	16  u64  epoch
//	24  u64  monitor
//	32  u8[16] boot: one life of the monitor's host
//	48  u64  session of the last writer
//	56  u8   flags: 1 read-only, 2 the last writer has not closed it,
//	         4 blank: this replica was never a member, and what others note of its
//	         monitor is not of it
//	57  u8   number of members
//	58  u8[6] reserved, 0
//	64  u64  for each member: its monitor
type Opened struct {
	Volume   remote.VolumeID
	Size     uint64
	Epoch    remote.Epoch
	Monitor  remote.MonitorID
	Boot     [16]byte
	Session  remote.SessionID
	ReadOnly bool
	LeftOpen bool
	Blank    bool // it was never a member
	Members  []remote.MonitorID
}

const openedSize = 64

// Append encodes the answer.
func (o *Opened) Append(b []byte) []byte {
	le := binary.LittleEndian
	for _, n := range []uint64{uint64(o.Volume), o.Size, uint64(o.Epoch), uint64(o.Monitor)} {
		b = le.AppendUint64(b, n)
	}
	b = append(b, o.Boot[:]...)
	b = le.AppendUint64(b, uint64(o.Session))
	flags := byte(0)
	if o.ReadOnly {
		flags |= 1
	}
	if o.LeftOpen {
		flags |= 2
	}
	if o.Blank {
		flags |= 4
	}
	b = append(b, flags, byte(len(o.Members)), 0, 0, 0, 0, 0, 0)
	return appendMonitors(b, o.Members)
}

func appendMonitors(b []byte, ids []remote.MonitorID) []byte {
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint64(b, uint64(id))
	}
	return b
}

// monitors decodes n ids.
func monitors(b []byte, n int) ([]remote.MonitorID, error) {
	if n > maxMembers || len(b) < 8*n {
		return nil, errBody
	}
	var ids []remote.MonitorID
	for i := range n {
		ids = append(ids, remote.MonitorID(binary.LittleEndian.Uint64(b[8*i:])))
	}
	return ids, nil
}

// Decode decodes it; an error is of kind remote.Protocol.
func (o *Opened) Decode(b []byte) (err error) {
	if len(b) < openedSize {
		return errBody
	}
	le := binary.LittleEndian
	*o = Opened{
		Volume: remote.VolumeID(le.Uint64(b)), Size: le.Uint64(b[8:]), Epoch: remote.Epoch(le.Uint64(b[16:])),
		Monitor: remote.MonitorID(le.Uint64(b[24:])), Boot: [16]byte(b[32:48]), Session: remote.SessionID(le.Uint64(b[48:])),
		ReadOnly: b[56]&1 != 0, LeftOpen: b[56]&2 != 0, Blank: b[56]&4 != 0,
	}
	o.Members, err = monitors(b[openedSize:], int(b[57]))
	return err
}
