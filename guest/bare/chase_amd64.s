#include "bare.h"

// chain writes into the first word of each unit the address of another, so that
// all units are one cycle in an order without a pattern: the full period of
// x -> Scatter*x + Seed mod a power of two (Hull and Dobell 1962; Scatter is 1
// mod 4, Seed odd), in which numbers that are no units are passed over.
TEXT ·chain(SB), NOSPLIT|NOFRAME, $0-0
	MARK
	CYCLES((Block_Result+Result_Begin)(DI))
	MOVQ Params_Count(DI), R12
	MOVQ R12, AX
	DECQ AX
	ORQ $1, AX
	BSRQ AX, CX
	MOVQ $2, R11
	SHLQ CX, R11
	DECQ R11 // mask
	XORL SI, SI
unit:
	MOVQ SI, AX
step:
	IMULQ Params_Scatter(DI), AX
	ADDQ Params_Seed(DI), AX
	ANDQ R11, AX
	CMPQ AX, R12
	JCC step
	IMULQ Params_Stride(DI), AX
	ADDQ Params_Start(DI), AX
	MOVQ SI, BX
	IMULQ Params_Stride(DI), BX
	ADDQ Params_Start(DI), BX
	MOVQ AX, (BX)
	INCQ SI
	CMPQ SI, R12
	JCS unit
	MOVQ R12, (Block_Result+Result_Writes)(DI)
	CYCLES((Block_Result+Result_End)(DI))
	XORL AX, AX
	EXIT
	END_OF_CODE

// chase follows the chain: no access can begin before the one before it ended.
// A write is one to the unit's second word.
TEXT ·chase(SB), NOSPLIT|NOFRAME, $0-0
	START
	MOVQ Params_Start(DI), BX
access:
	SUBQ $1, R12
	JCS phase
	XORL CX, CX
	MOVQ Params_WriteBelow(DI), AX
	SHLQ $32, AX
	JEQ decided
	RANDOM(R8, AX)
	MOVL R8, CX
decided:
	DECQ R11
	JEQ timed
	CMPQ CX, Params_WriteBelow(DI)
	JCC read
	MOVQ R8, 8(BX)
	INCQ R10
read:
	MOVQ (BX), BX
	JMP access
timed:
	MOVQ Params_Sample(DI), R11
	CYCLES(R14)
	CMPQ CX, Params_WriteBelow(DI)
	JCC timedread
	MOVQ R8, 8(BX)
	INCQ R10
timedread:
	MOVQ (BX), BX
	CYCLES(R15)
	SUBQ R14, R15
	COUNT(R15)
	JMP access
phase:
	MOVQ BX, R13
	NEXT_PHASE(access)
	END_OF_CODE

// leap goes from unit to unit in the order of a chain, but computes where to go
// instead of reading it: for memory that does not keep what is written. Each
// address still waits for what the access before it found.
TEXT ·leap(SB), NOSPLIT|NOFRAME, $0-0
	START
	MOVQ Params_Count(DI), AX
	DECQ AX
	ORQ $1, AX
	BSRQ AX, CX
	MOVQ $2, AX
	SHLQ CX, AX
	DECQ AX
	MOVQ AX, (Block_Result+Result_At)(DI) // mask
	XORL SI, SI
access:
	SUBQ $1, R12
	JCS phase
	MOVQ $0x14057b7ef767814f, DX
step:
	IMULQ Params_Scatter(DI), SI
	ADDQ DX, SI
	ANDQ (Block_Result+Result_At)(DI), SI
	CMPQ SI, Params_Count(DI)
	JCC step
	MOVQ SI, BX
	IMULQ Params_Stride(DI), BX
	ADDQ Params_Start(DI), BX
	XORL CX, CX
	MOVQ Params_WriteBelow(DI), AX
	SHLQ $32, AX
	JEQ decided
	RANDOM(R8, AX)
	MOVL R8, CX
decided:
	ACCESS
	MOVQ R13, AX
	ANDQ $0, AX
	ADDQ AX, SI
	JMP access
phase:
	NEXT_PHASE(access)
	END_OF_CODE
