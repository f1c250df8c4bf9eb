#include "bare.h"

// echo stands in for a kernel, in ring 0 and with one vCPU: it drives the last
// virtio console of bus 0 by polling. R8 is the function's configuration space,
// R9 its BAR, R10 the common registers, R11 the doorbells, R13 the distance
// between them, R12 the device's configuration; SI the receiving queue, DI the
// sending one, BP the messages received, R15 those sent, R14 the window size
// last seen.
TEXT ·echo(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $const_echoECAM, BX
	MOVL $const_echoSlots, CX
slot:
	CMPL (BX), $const_echoID
	JNE other
	MOVQ BX, R8
other:
	ADDQ $const_echoSlot, BX
	DECL CX
	JNE slot
	MOVW $6, 4(R8) // memory and bus master on
	MOVL 0x20(R8), R9 // BAR 4
	ANDL $0xfffffff0, R9
	MOVBLZX 0x34(R8), BX
capability: // virtio 1.2, 4.1.4
	CMPL BX, $0
	JEQ reset
	LEAQ (R8)(BX*1), SI
	MOVBLZX 1(SI), BX
	CMPB (SI), $9
	JNE capability
	MOVL 8(SI), DX
	ADDQ R9, DX
	MOVBLZX 3(SI), AX
	CMPL AX, $1
	JEQ common
	CMPL AX, $2
	JEQ doorbells
	CMPL AX, $4
	JNE capability
	MOVQ DX, R12
	JMP capability
common:
	MOVQ DX, R10
	JMP capability
doorbells:
	MOVQ DX, R11
	MOVL 16(SI), R13
	JMP capability

reset: // virtio 1.2, 3.1.1 and 4.1.4.3
	MOVB $0, 20(R10)
	MOVBLZX 20(R10), AX
	CMPL AX, $0
	JNE reset
	MOVB $3, 20(R10) // acknowledge, driver
	MOVL $0, 8(R10)
	MOVL $1, 12(R10) // VIRTIO_CONSOLE_F_SIZE
	MOVL $1, 8(R10)
	MOVL $1, 12(R10) // VIRTIO_F_VERSION_1
	MOVB $11, 20(R10) // and features
	MOVL $const_Memory, SI
	MOVL SI, BX
	XORL CX, CX
queue: // of one entry: descriptor, driver and device area a page each
	MOVW CX, 22(R10)
	MOVW $1, 24(R10)
	MOVL BX, 32(R10)
	MOVL $0, 36(R10)
	ADDL $const_echoDriver, BX
	MOVL BX, 40(R10)
	MOVL $0, 44(R10)
	ADDL $const_echoDriver, BX
	MOVL BX, 48(R10)
	MOVL $0, 52(R10)
	ADDL $(const_echoQueue-const_echoDevice), BX
	MOVW $1, 28(R10)
	INCL CX
	CMPL CX, $2
	JNE queue
	MOVB $15, 20(R10) // and driver OK
	LEAQ const_echoQueue(SI), DI
	LEAQ const_echoBuffer(SI), AX
	MOVQ AX, (SI)
	MOVL $const_echoMax, 8(SI)
	MOVW $2, 12(SI) // the device writes
	LEAQ const_echoBuffer(DI), AX
	MOVQ AX, (DI)
	XORL R14, R14
	XORL R15, R15
	XORL BP, BP

receive:
	INCL BP
	MOVW BP, (const_echoDriver+2)(SI)
	MOVW $0, (R11)
wait:
	MOVL (R12), AX // columns, rows
	CMPL AX, R14
	JNE resized
	MOVWLZX (const_echoDevice+2)(SI), AX
	CMPW AX, BP
	JNE wait
	MOVL (const_echoDevice+8)(SI), CX // bytes in the used entry
	XORL DX, DX
next:
	MOVBLZX const_echoBuffer(SI)(DX*1), AX
	CMPL AX, $const_EchoOff
	JEQ off
	CMPL AX, $const_EchoReset
	JEQ restart
	CMPL AX, $const_EchoCrash
	JEQ crash
	XORL $const_EchoFlip, AX
	MOVB AX, const_echoBuffer(DI)(DX*1)
	INCL DX
	CMPL DX, CX
	JCS next
	MOVL $1, R9 // the message is consumed
	JMP send
resized:
	MOVL AX, R14
	MOVB $const_EchoSize, const_echoBuffer(DI)
	MOVL AX, (const_echoBuffer+1)(DI)
	MOVL $5, CX
	XORL R9, R9
send:
	MOVL CX, 8(DI)
	INCL R15
	MOVW R15, (const_echoDriver+2)(DI)
	MOVW $1, (R11)(R13*1)
sending:
	MOVWLZX (const_echoDevice+2)(DI), AX
	CMPW AX, R15
	JNE sending
	CMPL R9, $0
	JEQ wait
	JMP receive
off:
	MOVL $const_PortPM1aControl, DX
	MOVL $const_powerOff, AX
	OUTW
	JMP -1(PC)
restart:
	MOVL $const_portReset, DX
	MOVL $const_resetValue, AX
	OUTB
	JMP -1(PC)
crash:
	UNDEF // there is no handler for the exception
	HLT
	JMP -1(PC)
	END_OF_CODE
