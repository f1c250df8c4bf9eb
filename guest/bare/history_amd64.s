#include "bare.h"

// history reads or swaps the first word of random units, and writes an Event of
// each into Table. It ends when Accesses are done or Table is full.
TEXT ·history(SB), NOSPLIT|NOFRAME, $0-0
	MARK
	CYCLES((Block_Result+Result_Begin)(DI))
	MOVQ Params_Seed(DI), R8
	MOVQ Params_Index(DI), R10
	INCQ R10
	SHLQ $48, R10 // the words that this vCPU puts
	MOVQ Params_Table(DI), SI
	MOVQ Params_TableCount(DI), R11
	MOVQ Params_Accesses(DI), R12
access:
	SUBQ $1, R12
	JCS end
	SUBQ $1, R11
	JCS end
	RANDOM(R8, AX)
	MOVQ $0x2545f4914f6cdd1d, AX
	IMULQ R8, AX
	MULQ Params_Count(DI)
	IMULQ Params_Stride(DI), DX
	ADDQ Params_Start(DI), DX
	MOVQ DX, BX
	MOVQ BX, Event_Address(SI)
	MOVL R8, CX
	CMPQ CX, Params_WriteBelow(DI)
	JCS swap
	MOVQ $0, Event_Put(SI)
	CYCLES(Event_Begin(SI))
	LFENCE
	MOVQ (BX), R13
	JMP done
swap:
	INCQ R10
	MOVQ R10, R13
	MOVQ R10, Event_Put(SI)
	INCQ (Block_Result+Result_Writes)(DI)
	CYCLES(Event_Begin(SI))
	LFENCE
	XCHGQ R13, (BX) // seen by all before the next instruction
done:
	CYCLES(Event_End(SI))
	MOVQ R13, Event_Found(SI)
	ADDQ $Event__size, SI
	INCQ (Block_Result+Result_Accesses)(DI)
	JMP access
end:
	CYCLES((Block_Result+Result_End)(DI))
	XORL AX, AX
	EXIT
	END_OF_CODE
