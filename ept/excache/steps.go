package excache

// rule is one line of the table of steps: on the event, an entry in state from
// with all flags of with set goes to state to, flags set and cleared, and the
// effects are done. The first rule that fits holds.
type rule struct {
	from  State
	with  Flags
	to    State
	set   Flags
	clear Flags
	do    Effects
}

const sleepers = Wait | Write

// steps is every legal step. What is not in it is illegal: a broken invariant
// of ours or a damaged table.
var steps = [numEvents][]rule{
	// A vCPU reads and finds no page, or (after its VMM dropped the mapping) a
	// page that isn't mapped.
	ReadFault: {
		{from: Zero, to: Mapping, set: Blank, do: ZeroRO | Enter},
		{from: Remote, to: Fetching, set: Wait, do: SendRead},
		{from: Fetching, with: Wait, to: Fetching},
		{from: Fetching, to: Fetching, set: Wait, do: Urgent},
		{from: Held, to: Mapping, do: InstallRO | Enter},
		{from: Mapping, to: Mapping, set: Wait},
		{from: Opening, to: Opening, set: Wait},
		{from: Clean, to: Mapping, do: ContinueRO},
		{from: Dirty, to: Opening, do: ContinueRW},
		{from: Protecting, to: Protecting, set: Wait},
		{from: WritingBack, to: Opening, set: Flight, do: ContinueRW | Again},
		{from: Dropping, to: Dropping, set: Wait},
		{from: Discarding, to: Discarding, set: Wait},
		{from: Poisoned, to: Poisoned, set: Wait, do: Stop},
	},
	// A vCPU writes, likewise.
	WriteFault: {
		{from: Zero, to: Opening, set: Blank, do: ZeroRW | Enter},
		{from: Remote, to: Fetching, set: sleepers, do: SendRead},
		{from: Fetching, with: Wait, to: Fetching, set: Write},
		{from: Fetching, to: Fetching, set: sleepers, do: Urgent},
		{from: Held, to: Opening, do: InstallRW | Enter},
		{from: Mapping, to: Mapping, set: sleepers},
		{from: Opening, to: Opening, set: Wait},
		{from: Clean, to: Opening, do: ContinueRW},
		{from: Dirty, to: Opening, do: ContinueRW},
		{from: Protecting, to: Protecting, set: sleepers},
		{from: WritingBack, to: Opening, set: Flight, do: ContinueRW | Again},
		{from: Dropping, to: Dropping, set: sleepers},
		{from: Discarding, to: Discarding, set: sleepers},
		{from: Poisoned, to: Poisoned, set: Wait, do: Stop},
	},
	// A vCPU writes to a write-protected page. Where there is no page any more,
	// the event is older than the line's eviction: serve it as a write.
	ProtectFault: {
		{from: Zero, to: Opening, set: Blank, do: ZeroRW | Enter},
		{from: Remote, to: Fetching, set: sleepers, do: SendRead},
		{from: Fetching, with: Wait, to: Fetching, set: Write},
		{from: Fetching, to: Fetching, set: sleepers, do: Urgent},
		{from: Held, to: Opening, do: InstallRW | Enter},
		{from: Mapping, to: Mapping, set: sleepers},
		{from: Opening, to: Opening, set: Wait},
		{from: Clean, to: Opening, do: Unprotect},
		{from: Dirty, to: Opening, do: Unprotect},
		{from: Protecting, to: Protecting, set: sleepers},
		{from: WritingBack, to: Opening, set: Flight, do: Unprotect | Again},
		{from: Dropping, to: Dropping, set: sleepers},
		{from: Discarding, to: Discarding, set: sleepers},
		{from: Poisoned, to: Poisoned, set: Wait, do: Stop},
	},

	Prefetch: append([]rule{
		{from: Remote, to: Fetching, do: SendRead},
		{from: Zero, to: Mapping, set: Blank, do: ZeroRO | Enter},
	}, stay...),
	PrefetchWrite: append([]rule{
		{from: Remote, to: Fetching, set: Write, do: SendRead},
		{from: Zero, to: Opening, set: Blank, do: ZeroRW | Enter},
	}, stay...),
	OpenAhead: append([]rule{
		{from: Clean, to: Opening, do: Unprotect},
	}, stay...),
	Evict: append([]rule{
		{from: Clean, to: Dropping, do: Punch},
		{from: Dirty, with: Flight, to: Dirty},
		{from: Dirty, to: Protecting, do: Protect},
	}, stay...),
	Reclaim: append([]rule{
		{from: Held, to: Remote, do: DropCopy},
	}, stay...),
	// A resident line is dropped without a write-back first; a second Discard
	// finds it Remote. Lines in a transition stay: ask again later.
	Discard: append([]rule{
		{from: Remote, to: Discarding, do: SendDiscard},
		{from: Held, to: Discarding, do: SendDiscard | DropCopy},
		{from: Clean, to: Dropping, do: Punch},
		{from: Dirty, with: Flight, to: Dirty},
		{from: Dirty, to: Dropping, do: Punch},
	}, stay...),

	Fetched: {
		{from: Fetching, with: Write, to: Opening, clear: sleepers, do: InstallRW | Enter},
		{from: Fetching, to: Mapping, clear: sleepers, do: InstallRO | Enter},
	},
	FetchedHold: {
		{from: Fetching, with: sleepers, to: Opening, clear: sleepers, do: InstallRW | Enter},
		{from: Fetching, with: Wait, to: Mapping, clear: sleepers, do: InstallRO | Enter},
		{from: Fetching, to: Held, clear: sleepers},
	},
	FetchFailed: {
		{from: Fetching, with: Wait, to: Fetching, do: SendRead},
		{from: Fetching, to: Remote, clear: sleepers},
	},
	FetchLost: {
		{from: Fetching, with: Wait, to: Poisoned, do: Stop},
		{from: Fetching, to: Remote, clear: sleepers},
	},

	// Whoever slept when the system call began was woken by it; the flags are
	// of those who came later.
	Installed: {
		{from: Mapping, with: Write, to: Opening, clear: sleepers, do: Unprotect},
		{from: Mapping, with: Wait, to: Clean, clear: sleepers, do: WakeUp},
		{from: Mapping, to: Clean},
		{from: Opening, with: Wait, to: Dirty, clear: sleepers, do: WakeUp},
		{from: Opening, to: Dirty, clear: sleepers},
	},
	// Somebody else (the VMM, loading a kernel) made the page: adopt it as the
	// newest content.
	Exists: {
		{from: Mapping, to: Opening, do: ContinueRW},
		{from: Opening, to: Opening, do: ContinueRW},
	},
	Mapped: {
		{from: Mapping, with: Write, to: Opening, clear: sleepers, do: Unprotect},
		{from: Mapping, to: Clean, clear: sleepers, do: WakeUp},
		{from: Opening, to: Opening, clear: sleepers, do: Unprotect},
	},
	// Somebody else punched the page out. What only the page had is lost.
	Gone: {
		{from: Mapping, with: Blank, to: Mapping, do: ZeroRO},
		{from: Mapping, to: Fetching, set: Wait, do: SendRead | Leave},
		{from: Opening, to: Poisoned, set: Wait, do: Stop},
	},

	Protected: {
		{from: Protecting, with: Write, to: Opening, clear: sleepers, do: Unprotect | Again},
		{from: Protecting, with: Wait, to: Opening, clear: sleepers, do: ContinueRW | Again},
		{from: Protecting, to: WritingBack, do: WriteBack},
	},
	Acked: {
		{from: WritingBack, to: Clean, clear: Blank},
		{from: Opening, with: Flight, to: Opening, clear: Flight | Blank},
		{from: Dirty, with: Flight, to: Dirty, clear: Flight | Blank},
		{from: Poisoned, with: Flight, to: Poisoned, clear: Flight | Blank},
	},
	ZeroAcked: {
		{from: WritingBack, to: Clean, set: Blank},
		{from: Opening, with: Flight, to: Opening, set: Blank, clear: Flight},
		{from: Dirty, with: Flight, to: Dirty, set: Blank, clear: Flight},
		{from: Poisoned, with: Flight, to: Poisoned, clear: Flight},
	},
	// The page is still write-protected; the next write finds a Dirty line and
	// opens it.
	WriteFailed: {
		{from: WritingBack, to: Dirty, do: Again},
		{from: Opening, with: Flight, to: Opening, clear: Flight},
		{from: Dirty, with: Flight, to: Dirty, clear: Flight},
		{from: Poisoned, with: Flight, to: Poisoned, clear: Flight},
	},
	Dropped: {
		{from: Dropping, with: Blank | Write, to: Opening, clear: sleepers, do: ZeroRW | Again},
		{from: Dropping, with: Blank | Wait, to: Mapping, clear: sleepers, do: ZeroRO | Again},
		{from: Dropping, with: Blank, to: Zero, clear: Blank, do: Leave},
		{from: Dropping, with: Wait, to: Fetching, do: SendRead | Leave},
		{from: Dropping, to: Remote, do: Leave},
	},
	DroppedHold: {
		{from: Dropping, with: Blank | Write, to: Opening, clear: sleepers, do: ZeroRW | Again},
		{from: Dropping, with: Blank | Wait, to: Mapping, clear: sleepers, do: ZeroRO | Again},
		{from: Dropping, with: Blank, to: Zero, clear: Blank, do: Leave},
		{from: Dropping, with: Write, to: Opening, clear: sleepers, do: InstallRW | Again},
		{from: Dropping, with: Wait, to: Mapping, clear: sleepers, do: InstallRO | Again},
		{from: Dropping, to: Held, do: Leave},
	},
	DiscardAcked: {
		{from: Discarding, with: Write, to: Opening, set: Blank, clear: sleepers, do: ZeroRW | Enter},
		{from: Discarding, with: Wait, to: Mapping, set: Blank, clear: sleepers, do: ZeroRO | Enter},
		{from: Discarding, to: Zero},
	},
	DiscardFailed: {
		{from: Discarding, with: Wait, to: Fetching, do: SendRead},
		{from: Discarding, to: Remote},
	},
}

// stay is what a policy's event does to a line that it can't move: nothing.
var stay = []rule{
	{from: Zero, to: Zero}, {from: Remote, to: Remote}, {from: Fetching, to: Fetching}, {from: Held, to: Held},
	{from: Mapping, to: Mapping}, {from: Opening, to: Opening}, {from: Clean, to: Clean}, {from: Dirty, to: Dirty},
	{from: Protecting, to: Protecting}, {from: WritingBack, to: WritingBack}, {from: Dropping, to: Dropping},
	{from: Discarding, to: Discarding}, {from: Poisoned, to: Poisoned},
}
