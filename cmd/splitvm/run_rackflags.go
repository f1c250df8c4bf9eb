package main

import (
	"github.com/urfave/cli/v3"
)

// rackOptions is how a processor monitor starts a vNode of its rack.
type rackOptions struct {
	placer     string // unix socket of who places vRegions; empty: no rack
	vnode, run uint64
	vregion    uint64 // size in bytes; 0: vRegionSize
	statusFile string
	bare       string // program and its parameters; empty: a kernel runs
}

func rackRunFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "global", Usage: "run on the rack of the global monitor at `HOST:PORT`; commas separate several; auto: that of `splitvm rack up`"},
		&cli.BoolFlag{Name: "detach", Usage: "on a rack: return when the vNode runs, and leave it there"},
		&cli.StringFlag{Name: "bare", Usage: "run a bare `PROGRAM` in ring 3 instead of a kernel, for tests: NAME[,accesses=N][,writes=SHARE][,status=N][,seed=N][,in-order]"},
		&cli.StringFlag{Name: "vregion", Validator: sizeFlag, Usage: "on a rack: `SIZE` of the pieces of memory that have owners of their own (default: 1G)"},
		&cli.StringFlag{Name: "placer", Hidden: true, Usage: "the processor monitor's socket `PATH`"},
		&cli.Uint64Flag{Name: "vnode", Hidden: true, Usage: "vID"},
		&cli.Uint64Flag{Name: "run", Hidden: true, Usage: "which run of the vNode this is"},
		&cli.StringFlag{Name: "status-file", Hidden: true, Usage: "write the end's status to `FILE`"},
	}
}

func rackOptionsOf(c *cli.Command) (r rackOptions, err error) {
	r = rackOptions{placer: c.String("placer"), vnode: c.Uint64("vnode"), run: c.Uint64("run"), statusFile: c.String("status-file"), bare: c.String("bare")}
	if s := c.String("vregion"); s != "" {
		r.vregion, err = parseSize(s)
	}
	return r, err
}
