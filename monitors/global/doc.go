// Package global is the global monitor, three parts of one process: GPM decides
// which processor monitor runs a vNode, GMM which memory monitors own a
// vRegion, GSM which storage monitors hold a volume. It also keeps membership:
// who is here, under a lease of etcd's that heartbeats renew.
//
// What it isn't: on no path of data. A rack whose global monitor is away serves
// every line and block; only changes wait.
//
// # Leader
//
// Any number of global monitors share one etcd, embedded or external. One of them
// leads by an election in etcd: it has all state in memory, decides, and
// writes each change to etcd before it answers. Every write is a transaction
// that holds only while the election is the leader's, so that one that lost it
// without noticing changes nothing. The others answer UNAVAILABLE, and
// remote/rack.Dial goes on to the next.
//
// # Locks
//
// leader.mu alone: it is held over a decision and its write, so that decisions
// are in one order, in memory and in etcd. No call to another monitor is made
// under it.
//
// # When a vRegion is placed
//
// When its vNode first needs it. A vNode is started only if all that it may come to need
// can be promised beside what is kept for others (roomForMemory), so that there is room
// then, but for monitors that were lost meanwhile and vRegions that are larger than what
// any one monitor has left.
//
// # Who frees a vRegion
//
// The end of a vNode's run removes its vRegions here. A memory monitor reports
// what it holds with each heartbeat and is told which of it belong to no vNode.
// So nobody has to reach a memory monitor to free something, and a vRegion that a
// dying VMM still made after its end is found as well.
package global
