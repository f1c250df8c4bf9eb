package blockwire

import (
	"encoding/binary"

	"splitvm/remote"
)

// ClaimRequest is the meta part of CLAIM, by which a writer takes a volume and
// says which replicas hold all of it. The epoch is the header's.
//
//	0  u64  session
//	8  u8   flags: 1 take it from a writer that is connected, 2 the writer leaves
//	9  u8   number of members
//	10 u8   number of replicas that are away
//	11 u8[5] reserved, 0
//	16 u64  for each member: its monitor; then the same for those away
type ClaimRequest struct {
	Session remote.SessionID
	Steal   bool
	Closed  bool
	Members []remote.MonitorID
	Away    []remote.MonitorID // what was written since the last common generation they may miss
}

const claimSize = 16

// Append encodes the request.
func (c *ClaimRequest) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Session))
	flags := byte(0)
	if c.Steal {
		flags |= 1
	}
	if c.Closed {
		flags |= 2
	}
	b = append(b, flags, byte(len(c.Members)), byte(len(c.Away)), 0, 0, 0, 0, 0)
	return appendMonitors(appendMonitors(b, c.Members), c.Away)
}

// Decode decodes it; an error is of kind remote.Protocol.
func (c *ClaimRequest) Decode(b []byte) (err error) {
	if len(b) < claimSize {
		return errBody
	}
	*c = ClaimRequest{Session: remote.SessionID(binary.LittleEndian.Uint64(b)), Steal: b[8]&1 != 0, Closed: b[8]&2 != 0}
	members, away := int(b[9]), int(b[10])
	if c.Members, err = monitors(b[claimSize:], members); err != nil {
		return err
	}
	c.Away, err = monitors(b[claimSize+8*members:], away)
	return err
}

// ChangedRequest is the meta part of CHANGED: a u64, the replica whose missing
// extents are asked for; 0: those that were changed since the last common
// generation. A monitor that is not known misses all.
type ChangedRequest struct{ Away remote.MonitorID }

// Nobody is the monitor that is not known anywhere.
const Nobody = ^remote.MonitorID(0)

// Append encodes the request.
func (c *ChangedRequest) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(c.Away))
}

// Decode decodes it; an error is of kind remote.Protocol.
func (c *ChangedRequest) Decode(b []byte) error {
	if len(b) < 8 {
		return errBody
	}
	c.Away = remote.MonitorID(binary.LittleEndian.Uint64(b))
	return nil
}

// MaxExtents is how many extents an answer to CHANGED lists at most.
const MaxExtents = 2048

// NoExtent is the end of a list of extents.
const NoExtent = ^uint64(0)

// AppendExtents encodes a list of extents.
func AppendExtents(b []byte, extents []uint32) []byte {
	for _, e := range extents {
		b = binary.LittleEndian.AppendUint32(b, e)
	}
	return b
}

// Extents decodes it.
func Extents(b []byte) []uint32 {
	var list []uint32
	for ; len(b) >= 4; b = b[4:] {
		list = append(list, binary.LittleEndian.Uint32(b))
	}
	return list
}
