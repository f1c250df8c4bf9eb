package serial

// signals are the modem's lines as MSR shows their levels: the peer's, or in
// loopback our own outputs, crosswise.
func (u *UART) signals(mcr byte) byte {
	if mcr&mcrLoop == 0 {
		return peerUp
	}
	var s byte
	for _, wire := range [...]struct{ out, in byte }{{mcrRTS, msrCTS}, {mcrDTR, msrDSR}, {mcrOUT1, msrRI}, {mcrOUT2, msrDCD}} {
		if mcr&wire.out != 0 {
			s |= wire.in
		}
	}
	return s
}

// controlModem is a write of MCR.
func (u *UART) controlModem(v byte) {
	old, now := u.signals(u.mcr), u.signals(v)
	u.mcr = v
	u.changes |= (old ^ now) >> 4 &^ msrTERI
	if old&^now&msrRI != 0 {
		u.changes |= msrTERI
	}
	u.refill()
	u.update()
}

// modemStatus is a read of MSR, which acknowledges the changes.
func (u *UART) modemStatus() byte {
	v := u.signals(u.mcr) | u.changes
	u.changes = 0
	u.update()
	return v
}

// lineStatus is a read of LSR, which acknowledges the errors.
func (u *UART) lineStatus() byte {
	v := u.gokvmIn(regLSR) | u.errors // transmitter empty; data ready
	if !u.out.room() {
		v &^= lsrTHRE | lsrTEMT
	}
	u.errors = 0
	u.update()
	return v
}
