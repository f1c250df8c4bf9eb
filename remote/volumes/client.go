package volumes

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"splitvm/remote"
	"splitvm/remote/api"
	"splitvm/remote/transport"
)

// Client is remote.Volumes at a storage monitor somewhere else. Errors add the
// kinds Disconnected, Timeout and Cancelled.
type Client struct {
	address string
	conn    *grpc.ClientConn
	api     api.StorageClient
}

var _ remote.Volumes = (*Client)(nil)

// Dial returns a client of the monitor at address ("HOST:PORT" or "unix:PATH"). It
// connects when it is first used.
func Dial(address string) (*Client, error) {
	network, at, err := transport.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	if network == "shm" {
		return nil, fmt.Errorf("storage monitor %s: give HOST:PORT or unix:PATH", address)
	}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, at)
	}
	conn, err := grpc.NewClient("passthrough:///storage-monitor", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	if err != nil {
		return nil, fmt.Errorf("storage monitor %s: %w", address, err)
	}
	return &Client{address: address, conn: conn, api: api.NewStorageClient(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

func (c *Client) one(v *api.StorageVolume, err error) (remote.VolumeInfo, error) {
	if err != nil {
		return remote.VolumeInfo{}, fromStatus(c.address, err)
	}
	return fromWire(v), nil
}

// CreateVolume implements remote.Volumes.
func (c *Client) CreateVolume(ctx context.Context, id remote.VolumeID, name string, size uint64) (remote.VolumeInfo, error) {
	return c.one(c.api.Create(ctx, &api.CreateStorageVolumeRequest{Id: uint64(id), Name: name, Bytes: size}))
}

// ListVolumes implements remote.Volumes.
func (c *Client) ListVolumes(ctx context.Context) ([]remote.VolumeInfo, error) {
	r, err := c.api.List(ctx, &api.ListStorageVolumesRequest{})
	if err != nil {
		return nil, fromStatus(c.address, err)
	}
	list := make([]remote.VolumeInfo, 0, len(r.GetVolumes()))
	for _, v := range r.GetVolumes() {
		list = append(list, fromWire(v))
	}
	return list, nil
}

// InspectVolume implements remote.Volumes.
func (c *Client) InspectVolume(ctx context.Context, name string) (remote.VolumeInfo, error) {
	return c.one(c.api.Inspect(ctx, &api.StorageVolumeName{Name: name}))
}

// ResizeVolume implements remote.Volumes.
func (c *Client) ResizeVolume(ctx context.Context, name string, size uint64) (remote.VolumeInfo, error) {
	return c.one(c.api.Resize(ctx, &api.ResizeStorageVolumeRequest{Name: name, Bytes: size}))
}

// DeleteVolume implements remote.Volumes.
func (c *Client) DeleteVolume(ctx context.Context, name string) error {
	_, err := c.api.Delete(ctx, &api.StorageVolumeName{Name: name})
	return fromStatus(c.address, err)
}

// SnapshotVolume implements remote.Volumes.
func (c *Client) SnapshotVolume(ctx context.Context, name string, id remote.VolumeID, snapshot string) (remote.VolumeInfo, error) {
	return c.one(c.api.Snapshot(ctx, &api.BranchStorageVolumeRequest{Name: name, Id: uint64(id), NewName: snapshot}))
}

// CloneVolume implements remote.Volumes.
func (c *Client) CloneVolume(ctx context.Context, name string, id remote.VolumeID, clone string) (remote.VolumeInfo, error) {
	return c.one(c.api.Clone(ctx, &api.BranchStorageVolumeRequest{Name: name, Id: uint64(id), NewName: clone}))
}

// ScrubVolume implements remote.Volumes.
func (c *Client) ScrubVolume(ctx context.Context, name string) (remote.ScrubReport, error) {
	r, err := c.api.Scrub(ctx, &api.StorageVolumeName{Name: name})
	if err != nil {
		return remote.ScrubReport{}, fromStatus(c.address, err)
	}
	return remote.ScrubReport{Checked: r.GetChecked(), Damaged: r.GetDamaged()}, nil
}
