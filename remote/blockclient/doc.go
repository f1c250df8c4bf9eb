// Package blockclient is a volume at its storage monitors, from the side of who
// uses it: requests with guest memory for payload, many in flight, on as many
// replicas as the volume has.
//
// What it isn't: no block device (vmm/virtio/block/volume makes one of it), no
// messages (remote/blockwire), no placement.
//
// # Payload
//
// A Request's memory is for system calls only: it may be guest memory whose pages
// are elsewhere, so no code here touches it. It moves by recvmsg and sendmsg.
//
// # What happens when a monitor goes
//
// A lost connection is made again, and what was not answered is sent again, in
// order: the monitor lets nothing that is stuck in the old connection take effect
// once the new one is open. A request that has no answer at its deadline fails.
//
// A monitor that is only killed has lost nothing. One whose host was restarted has
// lost what was not flushed; it tells its host's boot id when it is opened. If that
// is another one and there was anything to lose, it is sent nothing, least of all
// the FLUSH that was under way: the other members go on without it and it joins
// again; where there is none, the volume ends.
//
// # Replicas
//
// A change is done when all members have done it. The members are the replicas
// that hold all of the volume; the list of them is on each, under the volume's
// epoch. One that stays away for longer than Config.Grace is voted out: the others
// are given a new epoch and list with CLAIM, and only when that is on their disks
// is anything answered that the lost one does not have. It comes back by join: it
// gets every extent that it may miss, and all changes meanwhile, before it is a
// member again.
//
// What it may miss is everything since the last common generation, which is a
// flush of which it is known that all members have it and everything before; each
// FLUSH tells the members what that is. After a writer that was killed, members
// may differ in what was under way: the first one counts, and the others join.
//
// Replace moves one to another monitor: the new one comes as one that was away for
// ever, and when it is a member the old one is voted out and forgotten. So what is
// lost in the middle leaves one member more or less than was wanted, and never a
// change on fewer replicas than there were.
//
// # Locks
//
// Volume.mu guards everything but what a sender or receiver owns while it is one.
// Done is called without it.
package blockclient
