// Package processor is the processor monitor: it gives a host's vCPUs and ExCache
// to the rack, starts the VMM of each vNode that the global monitor places here,
// watches it, reports its end, and divides the ExCache among those that run.
//
// What it isn't: on no path of a fault (a VMM's own pager is), and not the parent
// that a VMM depends on: VMMs are sessions of their own and outlive the
// monitor. A monitor that starts again finds them by their environment, waits
// on pidfds instead of children, and reads their end from a file that each
// VMM leaves.
//
// The networks of the host's vNodes are a process of their own, which this monitor
// starts, watches and starts again, and which outlives it as VMMs do: guests go on
// talking, and so do their connections with the outside, while the monitor is
// replaced. VMMs join it again when it was lost.
//
// # Folder of a monitor
//
//	member              the member's id, so that a restart keeps it
//	placer.sock         where VMMs ask for their vRegions' owners
//	network.sock        where VMMs join their networks
//	network.log         what the networks' process says
//	mesh                where it takes frames from other hosts, so that a restart keeps that
//	run/                the VMMs' control sockets
//	vnodes/ID/vnode     what was launched; gone when its end is reported
//	vnodes/ID/status    written by the VMM at its end
//	vnodes/ID/out, err  what it printed; kept until the vNode is removed
//
// # Locks
//
// monitor.mu, and run.mu inside of it. No call is made under them.
package processor
