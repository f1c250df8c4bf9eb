package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote"
	"splitvm/remote/volumes"
)

const volumeDescription = `A volume is a disk on storage monitors. On a rack, which --global names, the rack
decides on which, and vNodes have it by its name. Elsewhere they are those of
--storage-monitor, and with several each gets a replica.

Examples:
   splitvm volume create --replicas 2 --format ext4 data 5G     # on the rack of ` + "`splitvm rack up`" + `
   splitvm run --global auto --volume data:/srv IMAGE
   splitvm volume inspect data                                  # where it is, and why there
   splitvm volume create --storage-monitor 10.0.0.9:7080,10.0.0.10:7080 db 20G
   splitvm volume ls --storage-monitor 10.0.0.9:7080 -o json
   splitvm volume snapshot db db-monday
   splitvm volume clone db-monday db-test`

func volumeCommand() *cli.Command {
	return &cli.Command{
		Name:        "volume",
		Usage:       "make, list and change volumes, of a rack or on given storage monitors",
		Description: volumeDescription,
		Commands: []*cli.Command{
			volumeVerb("create", "make an empty volume", "NAME SIZE", "--replicas 2 --format ext4 data 5G", createVolume, createRackVolume, replicasFlag(),
				&cli.StringFlag{Name: "format", Usage: "make a file system on it, `ext4`, so that guests can mount it", Validator: volumeFormat}),
			volumeVerb("import", "make a volume of a raw disk image", "NAME FILE", "root disk.raw", importVolume, importRackVolume, replicasFlag()),
			volumeVerb("ls", "list volumes", "", "-o json", listVolumes, listRackVolumes),
			volumeVerb("inspect", "describe a volume", "NAME", "data", inspectVolume, inspectRackVolume),
			volumeVerb("resize", "change a volume's size; what is cut off is lost", "NAME SIZE", "data 10G", resizeVolume, resizeRackVolume),
			volumeVerb("rm", "delete a volume", "NAME", "data", deleteVolume, deleteRackVolume,
				&cli.BoolFlag{Name: "force", Usage: "on a rack: also if a storage monitor can't be asked to delete its replica"}),
			volumeVerb("snapshot", "keep what a volume holds now, read-only; a guest that has it with a cache should sync first", "NAME SNAPSHOT", "data data-monday", branchVolume(remote.Volumes.SnapshotVolume), branchRackVolume(true)),
			volumeVerb("clone", "make a volume of what another or a snapshot holds", "NAME CLONE", "data-monday data-test", branchVolume(remote.Volumes.CloneVolume), branchRackVolume(false)),
			volumeVerb("scrub", "check every block of a volume", "NAME", "data", scrubVolume, scrubRackVolume),
		},
	}
}

func replicasFlag() cli.Flag {
	return &cli.IntFlag{Name: "replicas", Value: 1, Usage: "on a rack: `NUMBER` of storage monitors that have all of it"}
}

// volumeTimeout bounds a command, but for those that go through all of a volume.
const volumeTimeout = 30 * time.Second

// atMonitors is what a verb does at each monitor.
type atMonitors func(ctx context.Context, c *cli.Command, monitors []monitorClient) error

// monitorClient is a storage monitor under the address that the user gave.
type monitorClient struct {
	address string
	*volumes.Client
}

func volumeVerb(name, usage, args, example string, here atMonitors, rack onTheRack, more ...cli.Flag) *cli.Command {
	c := &cli.Command{
		Name: name, Usage: usage, ArgsUsage: args,
		Description: "Example:\n   splitvm volume " + name + " " + example,
		Flags:       append(more, globalFlag(), storageMonitorFlag(), outputFlag()),
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Len() != len(strings.Fields(args)) {
				return &exitError{exitUsage, fmt.Errorf("volume %s: give %s (see `splitvm volume %s --help`)", name, orNothing(args), name)}
			}
			if name != "scrub" && name != "import" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, volumeTimeout)
				defer cancel()
			}
			var err error
			if len(c.StringSlice("storage-monitor")) == 0 {
				err = onRack(c, func(conn *grpc.ClientConn) error { return rack(ctx, c, conn) })
			} else if err = onMonitors(c, func(m []monitorClient) error { return here(ctx, c, m) }); err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			if err != nil {
				return fmt.Errorf("volume %w", err)
			}
			return nil
		},
	}
	if strings.HasPrefix(args, "NAME") && name != "create" && name != "import" {
		return complete(c, 1, volumesOfRack)
	}
	return c
}

// onMonitors calls do with the storage monitors that the user named.
func onMonitors(c *cli.Command, do func([]monitorClient) error) error {
	var monitors []monitorClient
	for _, a := range addresses(c.StringSlice("storage-monitor")) {
		m, err := volumes.Dial(a)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		defer m.Close()
		monitors = append(monitors, monitorClient{a, m})
	}
	return do(monitors)
}

func orNothing(args string) string {
	if args == "" {
		return "no arguments"
	}
	return args
}

func storageMonitorFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "storage-monitor",
		Usage: "storage monitors, `HOST:PORT[,...]` or unix:PATH: one for each replica; may be repeated"}
}

// newVolumeID makes up an id that nobody had before.
func newVolumeID() remote.VolumeID {
	var b [8]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return remote.VolumeID(binary.LittleEndian.Uint64(b[:]) | 1)
}

// createVolume makes all replicas, or none.
func createVolume(ctx context.Context, c *cli.Command, monitors []monitorClient) error {
	name := c.Args().Get(0)
	size, err := parseSize(c.Args().Get(1))
	if err != nil {
		return err
	}
	id := newVolumeID()
	err = everywhere(ctx, c, monitors, name, func(m monitorClient) (remote.VolumeInfo, error) {
		return m.CreateVolume(ctx, id, name, size)
	})
	if err != nil || c.String("format") == "" {
		return err
	}
	if err := formatVolume(ctx, monitors, name, size); err != nil {
		return errors.Join(err, deleteVolume(ctx, c, monitors))
	}
	return nil
}

func branchVolume(branch func(remote.Volumes, context.Context, string, remote.VolumeID, string) (remote.VolumeInfo, error)) atMonitors {
	return func(ctx context.Context, c *cli.Command, monitors []monitorClient) error {
		id, made := newVolumeID(), c.Args().Get(1)
		return everywhere(ctx, c, monitors, made, func(m monitorClient) (remote.VolumeInfo, error) {
			return branch(m, ctx, c.Args().Get(0), id, made)
		})
	}
}

// everywhere makes a volume at each monitor, and takes it back where another one
// failed.
func everywhere(ctx context.Context, c *cli.Command, monitors []monitorClient, name string, at func(monitorClient) (remote.VolumeInfo, error)) error {
	var made []placedVolume
	for i, m := range monitors {
		v, err := at(m)
		if err != nil {
			for _, m := range monitors[:i] {
				err = errors.Join(err, m.DeleteVolume(ctx, name))
			}
			return err
		}
		made = append(made, placedVolume{m.address, v})
	}
	return printVolumes(c, made)
}

// placedVolume is a volume at one monitor.
type placedVolume struct {
	at string
	remote.VolumeInfo
}

// volumeRow is how a volume is printed.
type volumeRow struct {
	Monitor  string    `json:"monitor"`
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Size     uint64    `json:"size"`
	Used     uint64    `json:"used"`
	Shared   uint64    `json:"shared"`
	ReadOnly bool      `json:"read_only"`
	Origin   string    `json:"origin,omitempty"`
	Created  time.Time `json:"created"`
	Epoch    uint64    `json:"epoch"`
	InUse    bool      `json:"in_use"`
	Members  []string  `json:"members,omitempty"`
}

func (v placedVolume) row() volumeRow {
	r := volumeRow{
		Monitor: v.at, ID: v.ID.String(), Name: v.Name, Size: v.Size, Used: v.Used, Shared: v.Shared, ReadOnly: v.ReadOnly,
		Origin: v.Origin, Created: v.Created, Epoch: uint64(v.Epoch), InUse: v.Writer,
	}
	for _, m := range v.Members {
		r.Members = append(r.Members, m.String())
	}
	return r
}

func printVolumes(c *cli.Command, list []placedVolume) error {
	rows := []volumeRow{}
	t := table{head: []string{"NAME", "SIZE", "USED", "SHARED", "STATE", "ORIGIN", "MONITOR"}}
	for _, v := range list {
		r := v.row()
		rows = append(rows, r)
		t.rows = append(t.rows, []string{
			r.Name, units.BytesSize(float64(r.Size)), units.BytesSize(float64(r.Used)), units.BytesSize(float64(r.Shared)),
			volumeState(r), r.Origin, r.Monitor,
		})
	}
	return print(c, rows, t)
}

func volumeState(r volumeRow) string {
	switch {
	case r.ReadOnly:
		return "read-only"
	case r.InUse:
		return "in use"
	}
	return "free"
}

func listVolumes(ctx context.Context, c *cli.Command, monitors []monitorClient) error {
	var all []placedVolume
	for _, m := range monitors {
		list, err := m.ListVolumes(ctx)
		if err != nil {
			return err
		}
		for _, v := range list {
			all = append(all, placedVolume{m.address, v})
		}
	}
	return printVolumes(c, all)
}

func inspectVolume(ctx context.Context, c *cli.Command, monitors []monitorClient) error {
	var all []placedVolume
	for _, m := range monitors {
		v, err := m.InspectVolume(ctx, c.Args().First())
		if err != nil {
			return err
		}
		all = append(all, placedVolume{m.address, v})
	}
	return printVolumes(c, all)
}

func resizeVolume(ctx context.Context, c *cli.Command, monitors []monitorClient) error {
	size, err := parseSize(c.Args().Get(1))
	if err != nil {
		return err
	}
	var all []placedVolume
	for _, m := range monitors {
		v, err := m.ResizeVolume(ctx, c.Args().First(), size)
		if err != nil {
			return err
		}
		all = append(all, placedVolume{m.address, v})
	}
	return printVolumes(c, all)
}

func deleteVolume(ctx context.Context, c *cli.Command, monitors []monitorClient) error {
	var errs []error
	for _, m := range monitors {
		errs = append(errs, m.DeleteVolume(ctx, c.Args().First()))
	}
	return errors.Join(errs...)
}

// scrubRow is how a scrub is printed.
type scrubRow struct {
	Monitor string   `json:"monitor"`
	Checked uint64   `json:"checked_blocks"`
	Damaged []uint64 `json:"damaged_blocks"`
}

func scrubVolume(ctx context.Context, c *cli.Command, monitors []monitorClient) error {
	var rows []scrubRow
	var bad []string
	t := table{head: []string{"MONITOR", "BLOCKS", "DAMAGED"}}
	for _, m := range monitors {
		r, err := m.ScrubVolume(ctx, c.Args().First())
		if err != nil {
			return err
		}
		rows = append(rows, scrubRow{m.address, r.Checked, r.Damaged})
		t.rows = append(t.rows, []string{m.address, fmt.Sprint(r.Checked), fmt.Sprint(len(r.Damaged))})
		if len(r.Damaged) > 0 {
			bad = append(bad, m.address)
		}
	}
	if err := print(c, rows, t); err != nil {
		return err
	}
	if len(bad) > 0 {
		return fmt.Errorf("there are damaged blocks at %s: restore them from another replica or a copy", strings.Join(bad, ", "))
	}
	return nil
}
