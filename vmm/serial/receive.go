package serial

import (
	"fmt"
	"io"
	"os"
)

// Input is the guest's receiving end. A Write returns when the guest's FIFO
// has all of it, however long the guest takes, or with an error that wraps
// os.ErrClosed. Concurrent writes wait for each other.
func (u *UART) Input() io.Writer { return input{u} }

type input struct{ u *UART }

func (i input) Write(p []byte) (int, error) {
	u := i.u
	u.inMu.Lock()
	defer u.inMu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiting = p
	u.refill()
	u.update()
	for len(u.waiting) > 0 && !u.closed {
		u.taken.Wait()
	}
	n := len(p) - len(u.waiting)
	u.waiting = nil
	if n < len(p) {
		return n, fmt.Errorf("serial port input: %w", os.ErrClosed)
	}
	return n, nil
}

// listening tells whether the guest would want a peer to send.
func (u *UART) listening() bool {
	return u.mcr&mcrLoop == 0 && (u.mcr&mcrRTS != 0 || u.regs.IER&ierRDI != 0)
}

func (u *UART) depth() int {
	if u.fifo {
		return fifoDepth
	}
	return 1
}

// refill moves what waits on the host into the FIFO as far as it goes.
func (u *UART) refill() {
	if len(u.waiting) == 0 || !u.listening() {
		return
	}
	n := min(len(u.waiting), u.depth()-u.rxLen)
	for _, b := range u.waiting[:n] {
		u.accept(b)
	}
	if u.waiting = u.waiting[n:]; len(u.waiting) == 0 {
		u.taken.Signal()
	}
	u.update()
}

// accept puts a byte into the receive queue, which has room: it holds 10,000
// bytes, and depth is never more than 16.
func (u *UART) accept(b byte) {
	u.rx <- b
	u.rxLen++
}

// receive is a read of RBR.
func (u *UART) receive() byte {
	b := u.gokvmIn(regData)
	if u.rxLen > 0 {
		u.rxLen--
		u.refill()
		u.update()
	}
	return b
}

// clearReceiver empties the FIFO, whatever DLAB makes of its register.
func (u *UART) clearReceiver() {
	lcr := u.regs.LCR
	u.regs.LCR = 0
	for ; u.rxLen > 0; u.rxLen-- {
		u.gokvmIn(regData)
	}
	u.regs.LCR = lcr
}
