package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v3"
)

// build is what this program was built from.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"` // of the revision
	Modified bool   `json:"modified"`       // since the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "show what this program was built from",
		Description: `Examples:
   splitvm version
   splitvm version -o json`,
		Flags: []cli.Flag{outputFlag()},
		Action: func(_ context.Context, c *cli.Command) error {
			b := thisBuild()
			t := table{head: []string{"WHAT", "VALUE"}, rows: [][]string{{"version", b.Version}, {"go", b.Go}, {"platform", b.Platform}}}
			if b.Revision != "" {
				revision := b.Revision
				if b.Modified {
					revision += ", modified"
				}
				t.rows = append(t.rows, []string{"revision", revision}, []string{"of", b.Time})
			}
			return print(c, b, t)
		},
	}
}

func thisBuild() build {
	b := build{Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
