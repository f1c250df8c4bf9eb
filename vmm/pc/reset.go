package pc

// resetCPU is the bit of the reset register at port 0xCF9 that resets
// (ACPI 6.5, 4.8.3.6 and the FADT's RESET_REG).
const resetCPU = 1 << 2

// resetRegister is the byte at port 0xCF9, inside PCI's configuration ports.
type resetRegister struct {
	reset func()
}

func (resetRegister) Read(_ uint64, p []byte) { clear(p) }

func (r resetRegister) Write(_ uint64, p []byte) {
	if p[0]&resetCPU != 0 {
		r.reset()
	}
}

// keyboard is what is left of an i8042: its command port, by which old code
// resets the machine, and a status that says that nothing is there.
type keyboard struct {
	reset func()
}

const pulseReset = 0xfe

func (keyboard) Read(_ uint64, p []byte) { clear(p) }

func (k keyboard) Write(_ uint64, p []byte) {
	if p[0] == pulseReset {
		k.reset()
	}
}

// ignored swallows what firmware and kernels write without a reader: POST
// codes, the I/O delay port.
type ignored struct{}

func (ignored) Read(_ uint64, p []byte) { clear(p) }
func (ignored) Write(uint64, []byte)    {}
