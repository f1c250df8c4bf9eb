package bare

// Op is one line of what rubbish does: Count times Kind, each time at Address
// plus random bits under AddressMask, with Value xor random bits under
// ValueMask, Width bytes wide (0: 1, 2, 4 or 8 at random; ports make 4 of 8).
// The random bits come from Params.Seed, so a list repeats exactly.
type Op struct {
	Kind  OpKind
	Width uint8
	Count uint32

	Address, AddressMask uint64
	Value, ValueMask     uint64
}

// OpSize is the size of an Op in guest memory.
const OpSize = 40

// OpKind is what an Op does.
type OpKind uint8

// What rubbish can do. Seen is what the last In or Load found.
const (
	OpOut       OpKind = iota + 1 // write a port
	OpIn                          // read a port
	OpStore                       // write memory or a device
	OpLoad                        // read memory or a device
	OpSwap                        // exchange with memory or a device, locked
	OpOutString                   // write Value&0xff+1 elements of the tables to a port by one instruction
	OpInString                    // read as many into the scratch page
	OpCopy                        // copy Value&0xff+1 bytes from memory or a device into the scratch page by one instruction
	OpVector                      // read 16 bytes
	OpStoreSeen                   // write Seen xor Value
	OpOutSeen                     // write Seen xor Value to a port
	OpZero                        // write Value&0xffff+1 zero bytes by one instruction
	OpSpin                        // wait for Value&0xffff pauses
)

// ScratchAt is the page that OpInString and OpCopy read into.
const ScratchAt = CodeAt + MaxCode - 0x1000
