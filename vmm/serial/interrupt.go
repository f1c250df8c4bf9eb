package serial

// injector is told by gokvm that IER was written with something enabled; u.mu
// is held.
type injector struct{ u *UART }

func (i injector) InjectSerialIRQ() error {
	i.u.update()
	return nil
}

// cause is the pending interrupt of the highest priority, as IIR names it.
func (u *UART) cause() byte {
	ier := u.regs.IER
	switch {
	case ier&ierRLSI != 0 && u.errors != 0:
		return iirRLSI
	case ier&ierRDI != 0 && u.rxLen >= u.trigger:
		return iirRDI
	case ier&ierRDI != 0 && u.rxLen > 0:
		return iirTimeout
	case ier&ierTHRI != 0 && u.thri:
		return iirTHRI
	case ier&ierMSI != 0 && u.changes != 0:
		return iirMSI
	}
	return iirNone
}

// update drives the line to what the causes say.
func (u *UART) update() {
	if high := u.cause() != iirNone; high != u.level {
		u.level = high
		u.setLine(high)
	}
}

// identify is a read of IIR, which acknowledges the transmitter's interrupt
// when it names that one.
func (u *UART) identify() byte {
	id := u.cause()
	if id == iirTHRI {
		u.thri = false
		u.update()
	}
	if u.fifo {
		id |= iirFIFO
	}
	return id
}

// enableInterrupts is a write of IER. Enabling the transmitter's interrupt
// with the transmitter empty makes it pending, also if it was acknowledged
// before: drivers start sending that way, and Linux tests for it.
func (u *UART) enableInterrupts(v byte) {
	if v&ierTHRI == 0 {
		u.thri = false
	} else if u.regs.IER&ierTHRI == 0 {
		u.thri = u.out.room()
	}
	u.gokvmOut(regIER, v) // updates, unless v is 0
	u.update()
	u.refill()
}

// controlFIFO is a write of FCR. The transmit FIFO is never there to clear:
// what was sent is on its way.
func (u *UART) controlFIFO(v byte) {
	on := v&fcrEnable != 0
	if on != u.fifo || on && v&fcrClearRx != 0 {
		u.clearReceiver()
	}
	u.fifo, u.trigger = on, triggers[0]
	if on {
		u.trigger = triggers[v>>fcrTrigger]
	}
	u.refill()
	u.update()
}
