#include "bare.h"

// kick makes a request available, rings the doorbell and polls until the device
// has used it, again and again; the other vCPUs, by their flags, spin or exit.
TEXT ·kick(SB), NOSPLIT|NOFRAME, $0-0
	TESTQ $const_FlagSpin, Params_Flags(DI)
	JNE spin
	TESTQ $const_FlagExits, Params_Flags(DI)
	JNE exits
	START
loop:
	SUBQ $1, R12
	JCS phase
	MOVQ Params_Doorbell(DI), R10
	MOVQ Params_Start(DI), BX
	CYCLES(R14)
	INCW (BX)
	MOVWLZX (BX), CX
	MOVW $0, (R10)
	MOVQ Params_Used(DI), BX
poll:
	PAUSE
	MOVWLZX (BX), AX
	CMPL AX, CX
	JNE poll
	CYCLES(R15)
	SUBQ R14, R15
	CMPL R9, $0
	JEQ loop
	COUNT(R15)
	JMP loop
phase:
	NEXT_PHASE(loop)
spin:
	PAUSE
	JMP spin
exits:
	MOVL $const_PortPOST, DX
	XORL AX, AX
	OUTB
	JMP exits
	EXIT
	END_OF_CODE
