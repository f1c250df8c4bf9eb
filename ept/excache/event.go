package excache

import "strings"

// Event is something that happened to a line.
type Event uint8

// The events. The first group comes from the guest, the second from policies,
// the third are outcomes of effects.
const (
	ReadFault    Event = iota // the guest reads: no page, or not mapped
	WriteFault                // the guest writes: no page, or not mapped
	ProtectFault              // the guest writes to a write-protected page

	Prefetch      // fetch, or zero, ahead of the guest; map write-protected
	PrefetchWrite // likewise, for a stream of writes: map writable
	OpenAhead     // make a clean line writable ahead of the guest
	Evict         // start writing back (dirty) or dropping (clean)
	Reclaim       // give up a held copy
	Discard       // the guest gave up the content

	Fetched       // the payload is there; map it
	FetchedHold   // the payload is there; keep it back unless somebody waits
	FetchFailed   // the READ failed and may be repeated
	FetchLost     // the READ failed for good
	Installed     // the mapping system call succeeded
	Exists        // it found a page that is not ours
	Mapped        // it found the page mapped already
	Gone          // it found no page
	Protected     // the page is write-protected now
	Acked         // every replica holds the content that was sent
	ZeroAcked     // the content was all zero, and there is no backing any more
	WriteFailed   // the write-back failed, and will not be applied later on
	Dropped       // the page is punched out
	DroppedHold   // the page is punched out, and a copy of it was kept
	DiscardAcked  // there is no backing any more
	DiscardFailed // the DISCARD failed
	numEvents
)

var eventNames = [numEvents]string{
	"ReadFault", "WriteFault", "ProtectFault",
	"Prefetch", "PrefetchWrite", "OpenAhead", "Evict", "Reclaim", "Discard",
	"Fetched", "FetchedHold", "FetchFailed", "FetchLost", "Installed", "Exists", "Mapped", "Gone",
	"Protected", "Acked", "ZeroAcked", "WriteFailed", "Dropped", "DroppedHold", "DiscardAcked", "DiscardFailed",
}

// String names the event.
func (ev Event) String() string {
	if ev < numEvents {
		return eventNames[ev]
	}
	return "invalid"
}

// Effects is the set of things to do after the new entry is stored. At most one
// of a set reports an outcome (marked with the events).
type Effects uint32

// The effects.
const (
	SendRead    Effects = 1 << iota // READ the line (Fetched, FetchedHold, FetchFailed, FetchLost)
	InstallRO                       // put the payload or held copy into the page, mapped write-protected (Installed, Exists)
	InstallRW                       // likewise, writable
	ZeroRO                          // map a new page of zeroes write-protected (Installed, Exists)
	ZeroRW                          // likewise, writable
	ContinueRO                      // map the page that is there write-protected (Installed, Mapped, Gone)
	ContinueRW                      // likewise, writable
	Unprotect                       // make the mapped page writable (Installed)
	WakeUp                          // wake whoever sleeps for the line
	Protect                         // write-protect the page (Protected)
	WriteBack                       // read the page, WRITE or DISCARD (Acked, ZeroAcked, WriteFailed)
	Punch                           // punch out the page (Dropped, DroppedHold)
	SendDiscard                     // DISCARD the line (DiscardAcked, DiscardFailed)
	Stop                            // stop the vNode: the line can't be served
	Enter                           // the line takes a page: count it, tell the policy
	Leave                           // the line gave its page back
	Again                           // the line stays after all: tell the policy that it is hot
	DropCopy                        // give the held copy's frame back
	Urgent                          // somebody waits now for a READ that was sent ahead
)

var effectNames = []string{
	"SendRead", "InstallRO", "InstallRW", "ZeroRO", "ZeroRW", "ContinueRO", "ContinueRW", "Unprotect",
	"WakeUp", "Protect", "WriteBack", "Punch", "SendDiscard", "Stop", "Enter", "Leave", "Again", "DropCopy", "Urgent",
}

// Awaited is the set of effects that report an outcome.
const Awaited = SendRead | InstallRO | InstallRW | ZeroRO | ZeroRW | ContinueRO | ContinueRW |
	Unprotect | Protect | WriteBack | Punch | SendDiscard

// Has tells whether any of f are in the set.
func (f Effects) Has(g Effects) bool { return f&g != 0 }

// String lists the effects, separated by spaces.
func (f Effects) String() string {
	var names []string
	for i, n := range effectNames {
		if f&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, " ")
}
