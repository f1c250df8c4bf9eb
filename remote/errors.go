package remote

import "errors"

// Kind is why a request failed. A Kind is an error itself, so that the paths
// without allocation can return it bare; most callers wrap it. The numbers go
// over the wire and are append-only.
type Kind uint8

// The kinds of failure. OK is not an error; it is the wire's status of success.
const (
	OK           Kind = 0
	Internal     Kind = 1  // the monitor broke one of its own rules; its log says more
	Protocol     Kind = 2  // the peer does not speak this protocol, or not this version
	Unsupported  Kind = 3  // an operation that the peer does not know
	Range        Kind = 4  // lines outside of the vRegion, or counts outside of the limits
	NoVRegion    Kind = 5  // the monitor does not own this vRegion
	Exists       Kind = 6  // the vRegion exists with another epoch or size
	StaleEpoch   Kind = 7  // the caller's epoch is older than the monitor's
	FutureEpoch  Kind = 8  // the caller's epoch is newer: Adopt it first
	Full         Kind = 9  // out of memory; nothing was changed
	Corrupt      Kind = 10 // the payload does not match its checksum; nothing was changed
	Fenced       Kind = 11 // a newer connection or incarnation of this session exists
	Closing      Kind = 12 // the monitor is shutting down
	Timeout      Kind = 13 // no answer within the deadline; a write may or may not have happened
	Disconnected Kind = 14 // the connection went before the answer came; likewise
	Restarted    Kind = 15 // the monitor is a new process: what it held is lost
	Closed       Kind = 16 // the client was closed
	Cancelled    Kind = 17 // the caller's context ended; a write may or may not have happened

	// Of volumes.
	NoVolume     Kind = 32 // the monitor has no volume of this name or id
	VolumeExists Kind = 33 // it has one already
	Busy         Kind = 34 // somebody else has the volume open for writing
	ReadOnly     Kind = 35 // the volume takes no writes, or was not opened for them
	Damaged      Kind = 36 // a block is not what was written to it
	Behind       Kind = 37 // this replica misses writes that others hold
)

var kindText = [...]string{
	OK:           "success",
	Internal:     "internal error of the monitor",
	Protocol:     "protocol error",
	Unsupported:  "operation not supported by the peer",
	Range:        "lines out of range",
	NoVRegion:    "no such vRegion on this monitor",
	Exists:       "vRegion exists with another epoch or size",
	StaleEpoch:   "stale epoch",
	FutureEpoch:  "epoch not adopted yet",
	Full:         "monitor is full",
	Corrupt:      "payload checksum mismatch",
	Fenced:       "fenced by a newer connection of the same session",
	Closing:      "monitor is shutting down",
	Timeout:      "no answer within the deadline",
	Disconnected: "disconnected",
	Restarted:    "the monitor was restarted and has lost what it held",
	Closed:       "client closed",
	Cancelled:    "cancelled",
	NoVolume:     "no such volume",
	VolumeExists: "a volume of this name or id exists",
	Busy:         "volume is open for writing elsewhere",
	ReadOnly:     "volume is read-only, or not open for writing",
	Damaged:      "block does not match its checksum",
	Behind:       "replica misses writes",
}

// Error describes the kind.
func (k Kind) Error() string {
	if int(k) < len(kindText) && kindText[k] != "" {
		return kindText[k]
	}
	return "error of a kind unknown to this version"
}

// KindOf returns the Kind that err wraps, OK for nil, and Internal for an
// error without one.
func KindOf(err error) Kind {
	if err == nil {
		return OK
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Internal
}
