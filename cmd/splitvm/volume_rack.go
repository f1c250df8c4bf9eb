package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
	"splitvm/remote/volumes"
)

// onTheRack is what a verb does with a volume of a rack.
type onTheRack func(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error

// createRackVolume has the rack place a volume.
func createRackVolume(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error {
	size, err := parseSize(c.Args().Get(1))
	if err != nil {
		return err
	}
	v, err := placeVolume(ctx, c, conn, size)
	if err != nil {
		return err
	}
	if c.String("format") != "" {
		err = atReplicas(v, func(m []monitorClient) error { return formatVolume(ctx, m, v.Name, size) })
	}
	if err != nil {
		return unplaceVolume(ctx, conn, v, err)
	}
	return printRackVolumes(c, v)
}

func placeVolume(ctx context.Context, c *cli.Command, conn *grpc.ClientConn, size uint64) (*api.VolumePlace, error) {
	return api.NewVolumesClient(conn).CreateVolume(ctx, &api.CreateVolumeRequest{
		Name: c.Args().Get(0), Bytes: size, Replicas: uint32(max(1, c.Int("replicas"))), RequestId: rand.Text()})
}

// unplaceVolume takes back a volume that could not be filled.
func unplaceVolume(ctx context.Context, conn *grpc.ClientConn, v *api.VolumePlace, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), volumeTimeout)
	defer cancel()
	_, rerr := api.NewVolumesClient(conn).RemoveVolume(ctx, &api.RemoveVolumeRequest{Name: v.Name})
	return errors.Join(err, rerr)
}

// importRackVolume makes a volume of what a file holds.
func importRackVolume(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error {
	file, size, err := openRawImage(c.Args().Get(1))
	if err != nil {
		return err
	}
	defer file.Close()
	v, err := placeVolume(ctx, c, conn, uint64(size))
	if err != nil {
		return err
	}
	err = atReplicas(v, func(m []monitorClient) error { return copyIntoVolume(ctx, m, v.Name, file, size) })
	if err != nil {
		return unplaceVolume(ctx, conn, v, err)
	}
	return printRackVolumes(c, v)
}

// atReplicas calls do with the monitors of a volume's replicas, but for those that are
// lost.
func atReplicas(v *api.VolumePlace, do func([]monitorClient) error) error {
	var monitors []monitorClient
	defer func() {
		for _, m := range monitors {
			m.Close()
		}
	}()
	for _, r := range kept(v) {
		if len(r.Data) == 0 {
			return fmt.Errorf("volume %s: storage monitor %s has no address", v.Name, r.Name)
		}
		m, err := volumes.Dial(r.Data[0])
		if err != nil {
			return err
		}
		monitors = append(monitors, monitorClient{r.Data[0], m})
	}
	return do(monitors)
}

// kept are the replicas that are not lost.
func kept(v *api.VolumePlace) []*api.Replica {
	return slices.DeleteFunc(slices.Clone(v.Monitors), func(r *api.Replica) bool { return r.Lost })
}

func listRackVolumes(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error {
	list, err := api.NewVolumesClient(conn).ListVolumes(ctx, &api.ListVolumesRequest{})
	if err != nil {
		return err
	}
	return printRackVolumes(c, list.Volumes...)
}

// rackVolumeReport is what `volume inspect` tells of a volume of a rack.
type rackVolumeReport struct {
	Volume   message     `json:"volume"`
	Replicas []volumeRow `json:"replicas"` // as their monitors tell it
	Missing  []string    `json:"missing,omitempty"`
}

// inspectRackVolume tells what the rack knows, and then what each monitor does.
func inspectRackVolume(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error {
	v, err := rackVolume(ctx, c, conn)
	if err != nil {
		return err
	}
	r := rackVolumeReport{Volume: message{v}}
	t := table{head: []string{"WHAT", "VALUE", "WHY"}}
	add := func(what, value, why string) { t.rows = append(t.rows, []string{what, value, why}) }
	add("volume", v.Name+", "+units.BytesSize(float64(v.Bytes)), v.Why)
	add("state", rackVolumeState(v), "")
	add("health", health(v), v.TargetWhy)
	for _, o := range v.Monitors {
		if o.Lost {
			r.Missing = append(r.Missing, o.Name+" is lost")
			add("replica at "+o.Name, "lost", "")
		}
	}
	at := kept(v)
	err = atReplicas(v, func(monitors []monitorClient) error {
		for i, m := range monitors {
			info, err := m.InspectVolume(ctx, v.Name)
			if err != nil {
				r.Missing = append(r.Missing, err.Error())
				add("replica at "+at[i].Name, "can't be asked", err.Error())
				continue
			}
			row := placedVolume{m.address, info}.row()
			r.Replicas = append(r.Replicas, row)
			add("replica at "+at[i].Name, fmt.Sprintf("%s used, epoch %d, %s", units.BytesSize(float64(row.Used)), row.Epoch, volumeState(row)), m.address)
		}
		return nil
	})
	return errors.Join(err, print(c, r, t))
}

func rackVolume(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) (*api.VolumePlace, error) {
	return api.NewVolumesClient(conn).GetVolume(ctx, &api.VolumeName{Name: c.Args().First()})
}

func resizeRackVolume(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error {
	size, err := parseSize(c.Args().Get(1))
	if err != nil {
		return err
	}
	v, err := api.NewVolumesClient(conn).ResizeVolume(ctx, &api.ResizeVolumeRequest{Name: c.Args().First(), Bytes: size})
	if err != nil {
		return err
	}
	return printRackVolumes(c, v)
}

func deleteRackVolume(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error {
	_, err := api.NewVolumesClient(conn).RemoveVolume(ctx, &api.RemoveVolumeRequest{Name: c.Args().First(), Force: c.Bool("force")})
	return err
}

func branchRackVolume(readOnly bool) onTheRack {
	return func(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error {
		v, err := api.NewVolumesClient(conn).BranchVolume(ctx, &api.BranchVolumeRequest{
			Name: c.Args().Get(0), NewName: c.Args().Get(1), ReadOnly: readOnly, RequestId: rand.Text()})
		if err != nil {
			return err
		}
		return printRackVolumes(c, v)
	}
}

func scrubRackVolume(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error {
	v, err := rackVolume(ctx, c, conn)
	if err != nil {
		return err
	}
	return atReplicas(v, func(m []monitorClient) error { return scrubVolume(ctx, c, m) })
}

func printRackVolumes(c *cli.Command, list ...*api.VolumePlace) error {
	t := table{head: []string{"NAME", "SIZE", "STATE", "HEALTH", "ORIGIN", "REPLICAS"}}
	for _, v := range list {
		t.rows = append(t.rows, []string{v.Name, units.BytesSize(float64(v.Bytes)), rackVolumeState(v), health(v), v.Origin, replicaNames(v)})
	}
	return print(c, messages(list), t)
}

func replicaNames(v *api.VolumePlace) string {
	var names []string
	for _, r := range v.Monitors {
		name := r.Name
		switch {
		case v.TargetMade && r.Member == v.MovesTo:
			name += " (being made)"
		case r.Lost:
			name += " (lost)"
		case r.Away:
			name += " (away)"
		}
		names = append(names, name)
	}
	return strings.Join(names, ",")
}

// health is how many replicas of a volume have a monitor, and what is done about the rest.
func health(v *api.VolumePlace) string {
	here, lost, all := 0, 0, len(v.Replicas)
	for _, r := range v.Monitors[:min(all, len(v.Monitors))] {
		if !r.Away {
			here++
		}
		if r.Lost {
			lost++
		}
	}
	text := fmt.Sprintf("degraded: %d of %d replicas", here, all)
	switch {
	case here == all:
		text = "ok"
	case lost == all:
		return "lost: no replica is left"
	case here == 0:
		text = "away"
	}
	switch {
	case v.TargetMade:
		text += fmt.Sprintf("; a new one has %s", units.BytesSize(float64(v.CopiedBytes)))
	case v.MovesTo != 0:
		text += "; a new one is to be made"
	}
	return text
}

func rackVolumeState(v *api.VolumePlace) string {
	switch {
	case v.State == api.VolumeState_VOLUME_STATE_CREATING:
		return "being made"
	case v.ReadOnly:
		return "read-only"
	case v.Writer != 0:
		return fmt.Sprintf("written by vNode %d", v.Writer)
	case v.State == api.VolumeState_VOLUME_STATE_READY:
		return "free"
	}
	return "gone"
}

// openRawImage opens the file that is to become a volume.
func openRawImage(path string) (*os.File, int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}
