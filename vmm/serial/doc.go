// Package serial is a 16550A UART, the PC's COM1.
//
// It is built on gokvm's serial package, and adds what that lacks. From gokvm:
// the interrupt enable and line control registers, the address decoding by
// DLAB, the receive queue with the data-ready bit and the receive buffer
// register. Ours:
//
//   - output: gokvm prints the transmitter's bytes to standard output on the
//     vCPU's thread. Here they go to a buffer, and a goroutine hands them on.
//   - interrupts: gokvm injects one whenever IER is written and has no
//     identification. Here the line follows the causes, by priority.
//   - FIFO control, modem control and status with loopback, scratch register,
//     divisor, read-back of LCR: gokvm reads zeroes and ignores writes, and a
//     Linux kernel that probes for its port finds none.
//
// It isn't a wire: there is no baud rate, characters are never broken, and no
// time passes between one and the next. So a receive FIFO that holds
// something below its trigger level reports the character time-out at once.
//
// Output is not lost while the guest minds the line status: with the buffer
// full, THRE and TEMT stay clear until the reader on the host has made room,
// and the guest waits in its driver, not a vCPU in the VMM. What a guest
// writes in spite of that is dropped and counted, as a real UART overwrites
// it; Linux's console does so after 10 ms of waiting (its tty layer never).
//
// Input is given only while the guest asserts RTS or enables the receive
// interrupt, as by a peer with hardware flow control: what a user types or
// pipes in before the guest listens waits on the host.
//
// Locks: UART.inMu before UART.mu. The interrupt line is driven under mu, so
// its levels arrive in order.
package serial
