package excache

// Repair is what a successor of a killed pager does with a line before it wakes
// the guest: store Entry, after punching the page out if Punch is set.
type Repair struct {
	Entry Entry
	Punch bool
}

// Recover says how to carry on with a line that was in entry e when its pager was
// killed, and whose page is in the memfd (present) or not. All threads of the
// old pager are gone, all its sessions with memory monitors fenced, and every
// sleeper will be woken and fault again, so only Blank has a meaning left.
//
// Why each rule is right, by the order of store and effect:
//
//	Zero, Remote, Held, Fetching  a page that is there was made by somebody else
//	            (a VMM that loads a kernel before the pager starts): adopt it
//	Mapping     a page that is there equals the backing, or was made by somebody else
//	            and is newer: take it for dirty
//	Opening     stored before the page could be written to: if there is a page, it
//	            may have been written to; if not, it never was
//	Clean       equal to the backing; without a page (a host that dropped it) as well
//	Dirty, Protecting, WritingBack  the page has the truth. The write-back may or may
//	            not have arrived: repeat it. No page: the truth is lost
//	Dropping    acknowledged before: finish the punch
//	Discarding  the guest gave the content up; it may be gone at some replicas only:
//	            zeroes from now on, the rest is freed with the next write or the vNode
func Recover(e Entry, present bool) Repair {
	blank := e.Flags() & Blank
	backing := MakeEntry(Remote, 0)
	if blank != 0 {
		backing = MakeEntry(Zero, 0)
	}
	page := func(with, without Entry) Repair {
		if present {
			return Repair{Entry: with}
		}
		return Repair{Entry: without}
	}
	switch e.State() {
	case Zero:
		return page(MakeEntry(Dirty, Blank), e)
	case Remote, Held, Fetching:
		return page(MakeEntry(Dirty, 0), MakeEntry(Remote, 0))
	case Dropping:
		return Repair{Entry: backing, Punch: present}
	case Mapping, Opening:
		return page(MakeEntry(Dirty, blank), backing)
	case Clean:
		return page(MakeEntry(Clean, blank), backing)
	case Dirty, Protecting, WritingBack:
		return page(MakeEntry(Dirty, blank), MakeEntry(Poisoned, blank))
	case Discarding:
		return Repair{Entry: MakeEntry(Zero, 0), Punch: present}
	default:
		return Repair{Entry: MakeEntry(Poisoned, blank)}
	}
}
