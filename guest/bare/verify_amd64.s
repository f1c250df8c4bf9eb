#include "bare.h"

// MIX sets AX to what Word(pattern, BX, R9) is. Changes DX. pattern is in R15.
#define MIX \
	MOVQ R15, AX \
	XORQ BX, AX \
	MOVQ $0x9e3779b97f4a7c15, DX \
	IMULQ DX, AX \
	XORQ R9, AX \
	MOVQ AX, DX \
	SHRQ $29, DX \
	XORQ DX, AX \
	MOVQ $0xbf58476d1ce4e5b9, DX \
	IMULQ DX, AX

// fill writes Words words of each unit once, as the first write of verify.
TEXT ·fill(SB), NOSPLIT|NOFRAME, $0-0
	MARK
	CYCLES((Block_Result+Result_Begin)(DI))
	MOVQ Params_Pattern(DI), R15
	MOVL $1, R9
	MOVQ Params_Start(DI), SI
	MOVQ Params_Count(DI), R12
unit:
	MOVQ SI, BX
	MOVQ Params_Words(DI), CX
word:
	BTQ $6, BX
	JCC store
	BTQ $1, Params_Flags(DI) // FlagFillHalf
	JCS next
store:
	MIX
	MOVQ AX, (BX)
next:
	ADDQ Params_WordStride(DI), BX
	DECQ CX
	JNE word
	ADDQ Params_Stride(DI), SI
	INCQ (Block_Result+Result_Writes)(DI)
	DECQ R12
	JNE unit
	CYCLES((Block_Result+Result_End)(DI))
	XORL AX, AX
	EXIT
	END_OF_CODE

// verify picks a unit, checks all its words against the number of times that it
// was written, which Table holds, and perhaps writes it once more.
TEXT ·verify(SB), NOSPLIT|NOFRAME, $0-0
	MARK
	CYCLES((Block_Result+Result_Begin)(DI))
	MOVQ Params_Seed(DI), R8
	MOVQ Params_Pattern(DI), R15
	XORL R10, R10
	XORL R13, R13 // next unit if in order
	MOVQ Params_Accesses(DI), R12
access:
	SUBQ $1, R12
	JCS end
	RANDOM(R8, AX)
	BTQ $0, Params_Flags(DI) // FlagRandom
	JCC inorder
	MOVQ $0x2545f4914f6cdd1d, AX
	IMULQ R8, AX
	MULQ Params_Count(DI)
	JMP picked
inorder:
	MOVQ R13, DX
	INCQ R13
	CMPQ R13, Params_Count(DI)
	JCS picked
	XORL R13, R13
picked:
	MOVQ Params_Table(DI), SI
	LEAQ (SI)(DX*4), SI
	IMULQ Params_Stride(DI), DX
	ADDQ Params_Start(DI), DX
	MOVQ DX, R11
	MOVL (SI), R9
	MOVQ R11, BX
	MOVQ Params_Words(DI), CX
check:
	XORL AX, AX // a line never written is zero
	CMPQ R9, $0
	JEQ compare
	MIX
compare:
	CMPQ AX, (BX)
	JNE wrong
	ADDQ Params_WordStride(DI), BX
	DECQ CX
	JNE check
	INCQ (Block_Result+Result_Accesses)(DI)
	MOVL R8, CX
	CMPQ CX, Params_WriteBelow(DI)
	JCC access
	INCQ R9
	MOVL R9, (SI)
	INCQ R10
	MOVQ R11, BX
	MOVQ Params_Words(DI), CX
store:
	MIX
	MOVQ AX, (BX)
	ADDQ Params_WordStride(DI), BX
	DECQ CX
	JNE store
	JMP access
wrong:
	MOVQ (BX), DX
	MOVQ BX, (Block_Result+Result_Wrong+Wrong_Address)(DI)
	MOVQ DX, (Block_Result+Result_Wrong+Wrong_Found)(DI)
	MOVQ AX, (Block_Result+Result_Wrong+Wrong_Expected)(DI)
	MOVQ R9, (Block_Result+Result_Wrong+Wrong_Sequence)(DI)
	MOVQ R10, (Block_Result+Result_Writes)(DI)
	MOVL $const_StatusWrong, AX
	EXIT
end:
	MOVQ R10, (Block_Result+Result_Writes)(DI)
	CYCLES((Block_Result+Result_End)(DI))
	XORL AX, AX
	EXIT
	END_OF_CODE
