#include "bare.h"

// exit ends with the status that it was given.
TEXT ·exit(SB), NOSPLIT|NOFRAME, $0-0
	MOVL Params_Status(DI), AX
	EXIT
	END_OF_CODE

// greet is no bare guest: it stands in for a kernel, and runs as well in ring 0
// after a Linux boot protocol, without a Block. It writes a byte to COM1 and
// waits for its end.
TEXT ·greet(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $const_PortCOM1, DX
	MOVL $const_Hello, AX
	OUTB
	HLT
	JMP -1(PC)
	END_OF_CODE

// off is greet, but powers off.
TEXT ·off(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $const_PortCOM1, DX
	MOVL $const_Hello, AX
	OUTB
	MOVL $const_PortPM1aControl, DX
	MOVL $const_powerOff, AX
	OUTW
	HLT
	JMP -1(PC)
	END_OF_CODE
