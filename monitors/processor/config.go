package processor

import (
	"log/slog"
	"net"
	"os/exec"
	"time"

	"splitvm/remote/api"
)

// Config is a processor monitor as its user describes it.
type Config struct {
	Global  []string // the global monitors
	Listen  string   // HOST:PORT of its gRPC service
	Dir     string   // see the package's comment
	Name    string
	Domain  string // failure domain
	VCPUs   uint64
	ExCache uint64 // bytes for all vNodes together
	// Command makes the command that runs a vNode's VMM. Its streams, environment
	// and session are set here.
	Command func(Launch) *exec.Cmd
	// Network makes the command that has the networks of this host's vNodes, joined
	// by the socket at a path. Nil: vNodes have none.
	Network func(socket string) *exec.Cmd
	// Metrics is the address of the Prometheus endpoint; empty: none.
	Metrics string
	// Grace is what a VMM has to end after it was asked to. Default 10 s.
	Grace time.Duration
	Log   *slog.Logger
	// Ready, if set, is called with the address when it is being listened on.
	Ready func(net.Addr)
}

// Launch is what a VMM is started with.
type Launch struct {
	VNode   *api.VNode
	Placer  string // socket to ask for vRegions' owners
	Network string // socket to join its network by; empty: there are none
	Status  string // file to leave the Status in
	ExCache uint64 // bytes, to begin with
	Volumes []*api.VolumePlace
}

// Status is how a VMM ended.
type Status struct {
	Exit    int    `json:"exit"`
	Failure string `json:"failure,omitempty"` // why there was no guest, or it died
}

// defaultGrace is what a guest has to power off.
const defaultGrace = 10 * time.Second
