package bare

// Event is one operation that history logged: it took place at one moment
// between Begin and End, cycles of a counter that all vCPUs share.
type Event struct {
	Begin, End uint64
	Address    uint64
	Found      uint64 // what was there
	Put        uint64 // what was swapped in, no two alike and not 0; 0: a read
}

// EventSize is the size of an Event in guest memory.
const EventSize = 40
