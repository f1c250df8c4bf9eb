#include "bare.h"

// roam stands in for a kernel, as greet does. It counts its passes in the first
// word of every line of RoamSize bytes, and says so after each; it stops when a
// word is not the number of passes before.
TEXT ·roam(SB), NOSPLIT|NOFRAME, $0-0
	XORL R12, R12
pass:
	MOVQ $const_Memory, BX
line:
	CMPQ R12, (BX)
	JNE lost
	INCQ (BX)
	ADDQ $const_LineSize, BX
	CMPQ BX, $const_roamEnd
	JCS line
	INCQ R12
	MOVL $const_PortCOM1, DX
	MOVL $const_Hello, AX
	OUTB
	JMP pass
lost:
	MOVL $const_PortCOM1, DX
	MOVL $const_Lost, AX
	OUTB
	HLT
	JMP -1(PC)
	END_OF_CODE
