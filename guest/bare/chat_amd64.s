#include "bare.h"

// OWN copies the own MAC address to a place in the buffer at BX. Changes AX.
#define OWN(at) \
	MOVL (R12), AX \
	MOVL AX, at(BX) \
	MOVW 4(R12), AX \
	MOVW AX, (at+4)(BX)

// PEER copies an address of six bytes from the received frame at CX to that at BX.
// Changes AX.
#define PEER(from, at) \
	MOVL from(CX), AX \
	MOVL AX, at(BX) \
	MOVW (from+4)(CX), AX \
	MOVW AX, (at+4)(BX)

// chat stands in for a kernel, in ring 0 and with one vCPU: it drives the last virtio
// network device of bus 0 by polling. R8 is the function's configuration space,
// R9 its BAR, R10 the common registers, R11 the doorbells, R13 the distance
// between them, R12 the device's configuration and then the own addresses; SI the receiving
// queue, DI the sending one, BP the frames received, R15 those sent, R14 the time of the next
// datagram to all; R9 whether to go on receiving after sending.
TEXT ·chat(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $const_echoECAM, BX
	MOVL $const_echoSlots, CX
slot:
	CMPL (BX), $const_chatID
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
	MOVL $32, 12(R10) // VIRTIO_NET_F_MAC
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
	XORL CX, CX
address:
	MOVBLZX (R12)(CX*1), AX
	MOVB AX, const_chatOwn(SI)(CX*1)
	INCL CX
	CMPL CX, $6
	JNE address
	LEAQ const_chatOwn(SI), R12
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
	RDTSC
	SHLQ $32, DX
	ORQ DX, AX
	CMPQ AX, R14
	JCC hello
	MOVWLZX (const_echoDevice+2)(SI), AX
	CMPW AX, BP
	JNE wait
	MOVL $1, R9 // the frame will be consumed
	LEAQ const_echoBuffer(SI), CX
	LEAQ const_echoBuffer(DI), BX
	MOVWLZX const_atType(CX), AX
	CMPL AX, $const_chatARP
	JEQ arp
	CMPL AX, $const_chatIPv4
	JNE receive
	MOVBLZX const_atProto(CX), AX
	CMPL AX, $17
	JNE receive
	MOVBLZX const_atDst(CX), AX
	CMPL AX, $255
	JEQ answer
	MOVWLZX const_atDport(CX), AX
	CMPL AX, $const_chatEchoPort
	JEQ back
	CMPL AX, $const_chatPortLE
	JNE receive
	MOVBLZX (const_atFrom+3)(CX), AX
	ADDL $const_ChatBase, AX
	MOVL $const_chatCOM1, DX
	OUTB
	JMP receive

hello: // to all
	ADDQ $const_chatPause, AX
	MOVQ AX, R14
	XORL R9, R9
	LEAQ const_echoBuffer(DI), BX
	MOVL $0xffffffff, AX
	MOVL AX, const_atDst(BX)
	MOVW AX, (const_atDst+4)(BX)
	MOVL AX, const_atTo(BX)
	JMP datagram
answer:
	PEER(const_atSrc, const_atDst)
	MOVL const_atFrom(CX), AX
	MOVL AX, const_atTo(BX)
datagram: // to the addresses that are there
	OWN(const_atSrc)
	MOVW $const_chatIPv4, const_atType(BX)
	MOVL $const_chatHead, const_atIP(BX)
	MOVL $0, (const_atIP+4)(BX)
	MOVL $const_chatUDP, const_atTTL(BX) // and no checksum yet
	MOVL 2(R12), AX
	MOVL AX, const_atFrom(BX)
	MOVW $const_chatPortLE, const_atSport(BX)
	MOVW $const_chatPortLE, const_atDport(BX)
	MOVL $const_chatUDPSize, const_atSize(BX)
	XORL AX, AX
	XORL CX, CX
sum:
	MOVWLZX const_atIP(BX)(CX*2), DX
	ADDL DX, AX
	INCL CX
	CMPL CX, $10
	JNE sum
	MOVL AX, DX
	SHRL $16, DX
	ANDL $0xffff, AX
	ADDL DX, AX
	MOVL AX, DX
	SHRL $16, DX
	ADDL DX, AX
	NOTL AX
	MOVW AX, const_atSum(BX)
	MOVL $const_chatEnd, CX
send: // CX bytes
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

arp:
	MOVWLZX const_atOp(CX), AX
	CMPL AX, $const_chatAsk
	JNE receive
	MOVL 2(R12), AX
	CMPL AX, const_atTPA(CX)
	JNE receive
	MOVL AX, const_atSPA(BX)
	PEER(const_atSrc, const_atDst)
	OWN(const_atSrc)
	MOVW $const_chatARP, const_atType(BX)
	MOVL const_atIP(CX), AX
	MOVL AX, const_atIP(BX)
	MOVW (const_atIP+4)(CX), AX
	MOVW AX, (const_atIP+4)(BX)
	MOVW $(2*const_chatAsk), const_atOp(BX)
	OWN(const_atSHA)
	PEER(const_atSHA, const_atTHA)
	MOVL const_atSPA(CX), AX
	MOVL AX, const_atTPA(BX)
	MOVL $const_arpEnd, CX
	JMP send

back: // with addresses and ports the other way around; checksums stay right
	MOVL (const_echoDevice+8)(SI), DX
	MOVQ DX, R8
copy:
	DECL DX
	MOVBLZX (CX)(DX*1), AX
	MOVB AX, (BX)(DX*1)
	CMPL DX, $const_atType
	JNE copy
	PEER(const_atSrc, const_atDst)
	OWN(const_atSrc)
	MOVL const_atFrom(CX), AX
	MOVL AX, const_atTo(BX)
	MOVL const_atTo(CX), AX
	MOVL AX, const_atFrom(BX)
	MOVW const_atSport(CX), AX
	MOVW AX, const_atDport(BX)
	MOVW const_atDport(CX), AX
	MOVW AX, const_atSport(BX)
	MOVQ R8, CX
	JMP send
	HLT // not reached: what a program ends with
	JMP -1(PC)
	END_OF_CODE
