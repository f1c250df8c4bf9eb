#include "bare.h"

// random touches units at random, each as likely as any other.
TEXT ·random(SB), NOSPLIT|NOFRAME, $0-0
	START
access:
	SUBQ $1, R12
	JCS phase
	RANDOM(R8, AX)
	MOVL R8, CX
	MOVQ $0x2545f4914f6cdd1d, AX // xorshift64* (Vigna 2016)
	IMULQ R8, AX
	MULQ Params_Count(DI)
	WORD_OF_UNIT
	ACCESS
	JMP access
phase:
	NEXT_PHASE(access)
	END_OF_CODE
