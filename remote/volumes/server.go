package volumes

import (
	"context"

	"google.golang.org/grpc"

	"splitvm/remote"
	"splitvm/remote/api"
)

// Register serves v on s.
func Register(s *grpc.Server, v remote.Volumes) { api.RegisterStorageServer(s, &server{v: v}) }

type server struct {
	api.UnimplementedStorageServer
	v remote.Volumes
}

func one(v remote.VolumeInfo, err error) (*api.StorageVolume, error) {
	if err != nil {
		return nil, toStatus(err)
	}
	return toWire(&v), nil
}

// Create implements api.StorageServer, as do the others.
func (s *server) Create(ctx context.Context, r *api.CreateStorageVolumeRequest) (*api.StorageVolume, error) {
	return one(s.v.CreateVolume(ctx, remote.VolumeID(r.GetId()), r.GetName(), r.GetBytes()))
}

func (s *server) List(ctx context.Context, _ *api.ListStorageVolumesRequest) (*api.ListStorageVolumesResponse, error) {
	list, err := s.v.ListVolumes(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	out := &api.ListStorageVolumesResponse{}
	for i := range list {
		out.Volumes = append(out.Volumes, toWire(&list[i]))
	}
	return out, nil
}

func (s *server) Inspect(ctx context.Context, r *api.StorageVolumeName) (*api.StorageVolume, error) {
	return one(s.v.InspectVolume(ctx, r.GetName()))
}

func (s *server) Resize(ctx context.Context, r *api.ResizeStorageVolumeRequest) (*api.StorageVolume, error) {
	return one(s.v.ResizeVolume(ctx, r.GetName(), r.GetBytes()))
}

func (s *server) Delete(ctx context.Context, r *api.StorageVolumeName) (*api.DeleteStorageVolumeResponse, error) {
	if err := s.v.DeleteVolume(ctx, r.GetName()); err != nil {
		return nil, toStatus(err)
	}
	return &api.DeleteStorageVolumeResponse{}, nil
}

func (s *server) Snapshot(ctx context.Context, r *api.BranchStorageVolumeRequest) (*api.StorageVolume, error) {
	return one(s.v.SnapshotVolume(ctx, r.GetName(), remote.VolumeID(r.GetId()), r.GetNewName()))
}

func (s *server) Clone(ctx context.Context, r *api.BranchStorageVolumeRequest) (*api.StorageVolume, error) {
	return one(s.v.CloneVolume(ctx, r.GetName(), remote.VolumeID(r.GetId()), r.GetNewName()))
}

func (s *server) Scrub(ctx context.Context, r *api.StorageVolumeName) (*api.ScrubStorageVolumeResponse, error) {
	report, err := s.v.ScrubVolume(ctx, r.GetName())
	if err != nil {
		return nil, toStatus(err)
	}
	return &api.ScrubStorageVolumeResponse{Checked: report.Checked, Damaged: report.Damaged}, nil
}
