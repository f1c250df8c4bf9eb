#include "bare.h"

// rubbish does the Ops of Table. R12 is at the op, R13 counts the ops left, R11
// the times left, BX is the address, R10 the value, CX the width, R9 what was
// seen last, R15 the Block.
TEXT ·rubbish(SB), NOSPLIT|NOFRAME, $0-0
	MARK
	MOVQ DI, R15
	MOVQ Params_Seed(DI), R8
	MOVQ Params_Table(DI), R12
	MOVQ Params_TableCount(DI), R13
	XORL R9, R9
op:
	SUBQ $1, R13
	JCS end
	MOVL Op_Count(R12), R11
again:
	SUBQ $1, R11
	JCC draw
	ADDQ $Op__size, R12
	JMP op
draw:
	MOVQ R15, DI
	INCQ (Block_Result+Result_Accesses)(DI)
	MOVQ R12, (Block_Result+Result_Sum)(DI) // tells where a guest died
	RANDOM(R8, AX)
	MOVQ R8, BX
	ANDQ Op_AddressMask(R12), BX
	ADDQ Op_Address(R12), BX
	RANDOM(R8, AX)
	MOVQ R8, R10
	ANDQ Op_ValueMask(R12), R10
	XORQ Op_Value(R12), R10
	MOVBLZX Op_Width(R12), AX
	CMPL AX, $0
	JNE dispatch
	RANDOM(R8, AX)
	MOVQ R8, CX
	SHRQ $62, CX
	MOVL $1, AX
	SHLL CX, AX
dispatch:
	MOVL AX, CX
	MOVL BX, DX
	MOVBLZX Op_Kind(R12), AX
	CMPL AX, $const_OpOut
	JEQ out
	CMPL AX, $const_OpIn
	JEQ in
	CMPL AX, $const_OpStore
	JEQ store
	CMPL AX, $const_OpLoad
	JEQ load
	CMPL AX, $const_OpSwap
	JEQ swap
	CMPL AX, $const_OpOutString
	JEQ outstring
	CMPL AX, $const_OpInString
	JEQ instring
	CMPL AX, $const_OpCopy
	JEQ copy
	CMPL AX, $const_OpVector
	JEQ vector
	XORQ R9, R10
	CMPL AX, $const_OpStoreSeen
	JEQ store
	CMPL AX, $const_OpOutSeen
	JEQ out
	XORQ R9, R10
	CMPL AX, $const_OpZero
	JEQ zero
	MOVWLZX R10, CX
	INCL CX
spin:
	PAUSE
	DECL CX
	JNE spin
	JMP again
out:
	MOVL R10, AX
	CMPL CX, $1
	JEQ out1
	CMPL CX, $2
	JEQ out2
	OUTL
	JMP again
out1:
	OUTB
	JMP again
out2:
	OUTW
	JMP again
in:
	XORL AX, AX
	CMPL CX, $1
	JEQ in1
	CMPL CX, $2
	JEQ in2
	INL
	JMP seen
in1:
	INB
	JMP seen
in2:
	INW
seen:
	MOVQ AX, R9
	JMP again
store:
	CMPL CX, $1
	JEQ store1
	CMPL CX, $2
	JEQ store2
	CMPL CX, $4
	JEQ store4
	MOVQ R10, (BX)
	JMP again
store1:
	MOVB R10, (BX)
	JMP again
store2:
	MOVW R10, (BX)
	JMP again
store4:
	MOVL R10, (BX)
	JMP again
load:
	CMPL CX, $1
	JEQ load1
	CMPL CX, $2
	JEQ load2
	CMPL CX, $4
	JEQ load4
	MOVQ (BX), R9
	JMP again
load1:
	MOVBLZX (BX), R9
	JMP again
load2:
	MOVWLZX (BX), R9
	JMP again
load4:
	MOVL (BX), R9
	JMP again
swap:
	CMPL CX, $1
	JEQ swap1
	CMPL CX, $2
	JEQ swap2
	CMPL CX, $4
	JEQ swap4
	XCHGQ R10, (BX)
	JMP again
swap1:
	XCHGB R10, (BX)
	JMP again
swap2:
	XCHGW R10, (BX)
	JMP again
swap4:
	XCHGL R10, (BX)
	JMP again
outstring:
	MOVL $const_TablesAt, SI
	CLD
	CMPL CX, $1
	JEQ outs1
	CMPL CX, $2
	JEQ outs2
	MOVBLZX R10, CX
	INCL CX
	REP; OUTSL
	JMP again
outs1:
	MOVBLZX R10, CX
	INCL CX
	REP; OUTSB
	JMP again
outs2:
	MOVBLZX R10, CX
	INCL CX
	REP; OUTSW
	JMP again
instring:
	MOVL $const_ScratchAt, DI
	CLD
	CMPL CX, $1
	JEQ ins1
	CMPL CX, $2
	JEQ ins2
	MOVBLZX R10, CX
	INCL CX
	REP; INSL
	JMP again
ins1:
	MOVBLZX R10, CX
	INCL CX
	REP; INSB
	JMP again
ins2:
	MOVBLZX R10, CX
	INCL CX
	REP; INSW
	JMP again
copy:
	MOVL $const_ScratchAt, DI
	MOVQ BX, SI
	MOVBLZX R10, CX
	INCL CX
	CLD
	REP; MOVSB
	JMP again
zero:
	MOVQ BX, DI
	MOVWLZX R10, CX
	INCL CX
	XORL AX, AX
	CLD
	REP; STOSB
	JMP again
vector:
	MOVUPS (BX), X0
	JMP again
end:
	MOVQ R15, DI
	XORL AX, AX
	EXIT
	END_OF_CODE
