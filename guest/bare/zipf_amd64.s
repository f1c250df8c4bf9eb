#include "bare.h"

// zipf touches units with probabilities after Zipf's law. It draws a class of
// ranks from Table (see Zipf), a rank in that class, and the unit of the rank.
TEXT ·zipf(SB), NOSPLIT|NOFRAME, $0-0
	START
access:
	SUBQ $1, R12
	JCS phase
	RANDOM(R8, AX)
	MOVQ $0x2545f4914f6cdd1d, AX
	IMULQ R8, AX
	MULQ Params_TableCount(DI) // DX: class, AX: how far into it, of 1<<64
	SHRQ $32, AX
	SHLQ $4, DX                // 16 bytes each
	ADDQ Params_Table(DI), DX
	CMPL AX, Class_Keep(DX)
	JCS keep
	MOVL Class_Alias(DX), SI
	SHLQ $4, SI
	ADDQ Params_Table(DI), SI
	MOVQ SI, DX
keep:
	MOVQ DX, SI
	RANDOM(R8, AX)
	MOVQ $0x2545f4914f6cdd1d, AX
	IMULQ R8, AX
	MOVQ AX, BX                // kept for the word of the unit
	MOVL Class_Width(SI), DX
	MULQ DX
	MOVL Class_First(SI), AX
	ADDQ DX, AX                // rank
	MULQ Params_Scatter(DI)
	DIVQ Params_Count(DI)      // DX: unit
	MOVQ BX, AX
	SHLQ $20, AX
	MOVL R8, CX
	WORD_OF_UNIT
	ACCESS
	JMP access
phase:
	NEXT_PHASE(access)
	END_OF_CODE
