#include "bare.h"

// touch goes through the units one after the other, again and again.
TEXT ·touch(SB), NOSPLIT|NOFRAME, $0-0
	START
	MOVQ Params_Count(DI), AX
	IMULQ Params_Accesses(DI), AX
	MOVQ AX, (Block_Result+Result_Accesses)(DI)
	MOVQ Params_Start(DI), AX
	MOVQ AX, (Block_Result+Result_At)(DI)
pass:
	CMPQ R12, $0
	JEQ phase
	MOVQ (Block_Result+Result_At)(DI), BX
	MOVQ Params_Count(DI), SI
	MOVQ BX, AX
	ADDQ Params_Advance(DI), AX
	MOVQ AX, CX
	SUBQ Params_Start(DI), CX
	CMPQ CX, Params_Stride(DI)
	JCS begun
	MOVQ Params_Start(DI), AX
begun:
	MOVQ AX, (Block_Result+Result_At)(DI)
unit:
	// Random bits are only needed for a mixture.
	XORL CX, CX
	MOVQ Params_WriteBelow(DI), AX
	SHLQ $32, AX // 0 for no write and for writes only
	JEQ access
	RANDOM(R8, AX)
	MOVL R8, CX
access:
	ACCESS
	ADDQ Params_Stride(DI), BX
	DECQ SI
	JNE unit
	DECQ R12
	JMP pass
phase:
	NEXT_PHASE(pass)
	END_OF_CODE
