package remote

import (
	"context"
	"fmt"
	"time"
)

// BlockSize is the size of a volume's blocks in bytes: the unit of its storage.
// Requests count in sectors; what covers a block in part is read and written by
// the monitor.
const BlockSize = 4096

// SectorSize is the unit of offsets and lengths in requests to volumes.
const SectorSize = 512

// MaxBlockIO is the largest payload of one request to a volume in bytes.
const MaxBlockIO = 1 << 20

// VolumeID names a volume; unique in a cluster and never used again. Replicas of
// a volume have one id.
type VolumeID uint64

// String gives the id as it appears in logs.
func (id VolumeID) String() string { return fmt.Sprintf("vol-%x", uint64(id)) }

// VolumeInfo describes a volume on one storage monitor.
type VolumeInfo struct {
	ID       VolumeID
	Name     string
	Size     uint64 // bytes
	Epoch    Epoch  // of the last writer
	ReadOnly bool   // a snapshot, or sealed
	Origin   string // name of what it was cloned or taken from; empty: nothing
	Created  time.Time
	Used     uint64 // bytes on the monitor that no other volume shares
	Shared   uint64 // bytes that it has in common with others
	Writer   bool   // somebody has it open for writing
	// Members are the monitors that hold all of it; empty: it was never opened.
	Members []MonitorID
}

// ScrubReport is what a scrub of a volume found.
type ScrubReport struct {
	Checked uint64   // blocks that hold data
	Damaged []uint64 // blocks that do not match their checksum, the first thousand
}

// Volumes is the control role of a storage monitor. Names are 1 to 128 letters,
// digits and any of "._-:@/+", beginning with a letter or digit.
//
// Errors have a Kind: Range for a name or size that can't be; NoVolume; Full.
type Volumes interface {
	// CreateVolume makes a volume that reads as zeroes. The size is rounded up to
	// blocks. VolumeExists if the name or the id is taken.
	CreateVolume(ctx context.Context, id VolumeID, name string, size uint64) (VolumeInfo, error)

	// ListVolumes returns all volumes, by name.
	ListVolumes(ctx context.Context) ([]VolumeInfo, error)

	// InspectVolume describes one volume.
	InspectVolume(ctx context.Context, name string) (VolumeInfo, error)

	// ResizeVolume changes the size. What is cut off is lost; it reads as zeroes
	// if the volume grows again. Busy while a writer has it open, ReadOnly for
	// snapshots.
	ResizeVolume(ctx context.Context, name string, size uint64) (VolumeInfo, error)

	// DeleteVolume forgets the volume and frees what no other shares. Busy while
	// a writer has it open.
	DeleteVolume(ctx context.Context, name string) error

	// SnapshotVolume makes a read-only volume of what the volume holds at one
	// instant during the call. A writer may go on.
	SnapshotVolume(ctx context.Context, name string, id VolumeID, snapshot string) (VolumeInfo, error)

	// CloneVolume makes a volume of what another one, which may be a snapshot,
	// holds at one instant. They share what neither changes.
	CloneVolume(ctx context.Context, name string, id VolumeID, clone string) (VolumeInfo, error)

	// ScrubVolume reads every block of the volume, those that it shares as well,
	// checks it, and frees what is not in use. What is damaged is in the report,
	// and not an error.
	ScrubVolume(ctx context.Context, name string) (ScrubReport, error)
}
