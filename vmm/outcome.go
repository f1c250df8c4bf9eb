package vmm

import "fmt"

// End is how a guest came to its end.
type End int

// The ends of a guest.
const (
	Running     End = iota // not ended
	PowerOff               // the guest powered off
	Reset                  // the guest asked for a reset
	TripleFault            // the guest shut its CPU down by a triple fault
	Halted                 // the guest halted a CPU which nothing can wake
	Exited                 // the guest reported an exit status
	Stopped                // the VMM was told to stop (API, signal, parent)
	Failed                 // KVM or the VMM can't go on with the guest
)

var endNames = [...]string{"running", "powered off", "reset", "triple fault", "halted", "exited", "stopped", "failed"}

func (e End) String() string {
	if e < 0 || int(e) >= len(endNames) {
		return fmt.Sprintf("End(%d)", int(e))
	}
	return endNames[e]
}

// Outcome tells an end in full. Status is the guest's exit status where End is
// Exited; Err the reason where it is Failed.
type Outcome struct {
	End    End
	Status int
	Err    error
}

func (o Outcome) String() string {
	switch o.End {
	case Exited:
		return fmt.Sprintf("exited with status %d", o.Status)
	case Failed:
		return fmt.Sprintf("failed: %v", o.Err)
	}
	return o.End.String()
}
