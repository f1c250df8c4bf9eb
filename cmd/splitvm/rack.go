package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"
)

func rackCommand() *cli.Command {
	return &cli.Command{
		Name: "rack", Usage: "a whole rack on this host: one command starts it, one ends it",
		Description: `Global, processor, memory and storage monitors as processes of this host. Commands
with --global auto mean it.

Examples:
   splitvm rack up --memories 4
   splitvm rack status
   splitvm rack down`,
		Commands: []*cli.Command{rackUpCommand(), rackDownCommand(), rackStatusCommand()},
	}
}

func rackDirFlag() cli.Flag {
	return &cli.StringFlag{Name: "dir", Value: defaultRackDir(), Usage: "`DIR` of the rack's state and logs"}
}

func defaultRackDir() string { return filepath.Join(runDir(), "rack") }

// rackRecord is what is kept of a rack that is up, in DIR/rack.json.
type rackRecord struct {
	Global    string        `json:"global"` // addresses, with commas between
	Processes []rackProcess `json:"processes"`
	dir       string
}

// rackProcess is one monitor of it. A process belongs to the rack if it has the
// rack's mark in its environment.
type rackProcess struct {
	Name string   `json:"name"`
	Role string   `json:"role"`
	PID  int      `json:"pid"`
	Log  string   `json:"log"`
	Args []string `json:"args"` // to start it again: splitvm ARGS
}

func readRack(dir string) (*rackRecord, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "rack.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no rack is up in %s: `splitvm rack up` starts one", dir)
	}
	if err != nil {
		return nil, err
	}
	r := &rackRecord{dir: dir}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s/rack.json: %w", dir, err)
	}
	return r, nil
}

func (r *rackRecord) save() error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, "rack.json"), raw, 0o600)
}
