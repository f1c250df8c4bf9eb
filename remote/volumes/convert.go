package volumes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote"
	"splitvm/remote/api"
)

func toWire(v *remote.VolumeInfo) *api.StorageVolume {
	out := &api.StorageVolume{
		Id: uint64(v.ID), Name: v.Name, Bytes: v.Size, Epoch: uint64(v.Epoch), ReadOnly: v.ReadOnly, Origin: v.Origin,
		CreatedUnixMs: v.Created.UnixMilli(), UsedBytes: v.Used, SharedBytes: v.Shared, Writer: v.Writer,
	}
	for _, m := range v.Members {
		out.Members = append(out.Members, uint64(m))
	}
	return out
}

func fromWire(v *api.StorageVolume) remote.VolumeInfo {
	out := remote.VolumeInfo{
		ID: remote.VolumeID(v.GetId()), Name: v.GetName(), Size: v.GetBytes(), Epoch: remote.Epoch(v.GetEpoch()),
		ReadOnly: v.GetReadOnly(), Origin: v.GetOrigin(), Created: time.UnixMilli(v.GetCreatedUnixMs()).UTC(),
		Used: v.GetUsedBytes(), Shared: v.GetSharedBytes(), Writer: v.GetWriter(),
	}
	for _, m := range v.GetMembers() {
		out.Members = append(out.Members, remote.MonitorID(m))
	}
	return out
}

// codeOf is what other clients than ours make of a kind.
var codeOf = map[remote.Kind]codes.Code{
	remote.NoVolume: codes.NotFound, remote.VolumeExists: codes.AlreadyExists, remote.Range: codes.InvalidArgument,
	remote.Busy: codes.FailedPrecondition, remote.ReadOnly: codes.FailedPrecondition, remote.Full: codes.ResourceExhausted,
	remote.Damaged: codes.DataLoss, remote.StaleEpoch: codes.Aborted, remote.Closing: codes.Unavailable, remote.Unsupported: codes.Unimplemented,
}

// toStatus makes an error of the store's one of gRPC's.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	kind := remote.KindOf(err)
	code, ok := codeOf[kind]
	switch {
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case !ok:
		code = codes.Internal
	}
	s, detailed := status.New(code, err.Error()).WithDetails(&api.StorageFailure{Kind: uint32(kind)})
	if detailed != nil {
		return status.Error(code, err.Error())
	}
	return s.Err()
}

// failure is an error that came over the wire: the monitor's words and its kind.
type failure struct {
	text string
	kind remote.Kind
}

func (f *failure) Error() string { return f.text }

func (f *failure) Unwrap() error { return f.kind }

// fromStatus is the other way round.
func fromStatus(address string, err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	for _, d := range s.Details() {
		if f, ok := d.(*api.StorageFailure); ok && f.GetKind() != 0 && f.GetKind() < 256 {
			return fmt.Errorf("storage monitor %s: %w", address, &failure{s.Message(), remote.Kind(f.GetKind())})
		}
	}
	kind := remote.Internal
	switch s.Code() {
	case codes.Unavailable:
		kind = remote.Disconnected
	case codes.DeadlineExceeded:
		kind = remote.Timeout
	case codes.Canceled:
		kind = remote.Cancelled
	case codes.Unimplemented:
		kind = remote.Unsupported
	}
	return fmt.Errorf("storage monitor %s: %w", address, &failure{s.Message(), kind})
}
