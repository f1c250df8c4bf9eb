// Package handoff is the agreement between a VMM and its pager over a unix
// socket: what is handed over, who keeps it, and how a pager that died is
// replaced.
//
// The VMM owns everything that must outlive a pager: the memfd of guest memory,
// the userfaultfds (opened, agreed upon and registered by the VMM, since they
// are about its address space) and the memfd of the line table (Guest). A pager
// gets duplicates of the descriptors with the first message (Serve), and
// carries on from the table; when it is gone, the VMM hands the same to the next one
// (Supervise). VCPUs that fault meanwhile sleep, nothing else.
//
// What it isn't: it starts no monitor and dials none (Dialer does), and it
// doesn't know KVM.
//
// # Messages
//
// Each is a little-endian u32 with the length of a JSON object, and the object.
// The VMM's first, Attach, carries the descriptors (memory, table, userfaultfd
// by shard) in one SCM_RIGHTS control message on its first byte. Unknown fields are
// ignored, so either side may be newer.
//
//	VMM to pager       pager to VMM
//	attach             ready, or failed
//	resize             done, or refused
//	stats              stats
//	discard            done, or refused
//	move               done, or refused
//	done               moved
//	placed             place
//	                   failed (at any time: the vNode must stop)
//
// Requests carry an id, which the answer repeats. Either side hangs up by
// closing the socket; the pager stops serving then.
//
// # Placement
//
// Who owns a vRegion is written down in the VMM (Guest), for all pagers. One that has
// no owners yet gets them when a line of it is first written back: the pager asks
// (place), the VMM asks whoever decides (Placer), notes the answer and passes it on
// (placed). A pager that dies in between leaves nothing to undo: its successor is
// attached with what was noted, or asks again, and who decides answers the same.
//
// # Moves
//
// A move of a vRegion (ept, Moves) is committed in the Guest:
//
//	VMM                       pager
//	move (i, epoch, to) ->    makes an empty copy at to, copies, shuts the vRegion
//	                  <- moved (i, epoch, to)
//	notes the new owner
//	done ->                   goes on with the new owner
//	                  <- done
//
// A pager that dies before moved has changed nothing: its successor is asked the
// same again, and begins with an empty copy again. One that dies later had
// nothing to write under way, and its successor is attached with the new owner. A pager
// that gets no answer to moved doesn't know, and stops.
//
// # Trust
//
// A pager checks whatever a VMM sends: lengths before allocation, the layout,
// the descriptors' kinds, and that the table's file is sealed against shrinking, so that a
// VMM that was taken over by its guest can't crash a pager that serves others.
package handoff
