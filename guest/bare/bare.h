// What the programs share. Registers: DI holds the vCPU's Block from beginning
// to end; R8 the state of the random numbers, R9 the phase (0 warm, 1
// measured), R10 the writes, R11 the accesses to the next timed one, R12 what
// is left of the phase, R13 the sum of what was read, BX an access's address.

#include "go_asm.h"
#include "textflag.h"

// END_OF_CODE ends each program: what reads the code looks for it.
#define END_OF_CODE \
	QUAD $0x5d1a7e6ec0d3b0a7 \
	QUAD $0x0ddba11c0ffee1e5

// RANDOM steps x by xorshift64 (Marsaglia 2003) and changes t.
#define RANDOM(x, t) \
	MOVQ x, t \
	SHLQ $13, t \
	XORQ t, x \
	MOVQ x, t \
	SHRQ $7, t \
	XORQ t, x \
	MOVQ x, t \
	SHLQ $17, t \
	XORQ t, x

// CYCLES reads the time-stamp counter into out, after everything before it.
// Changes AX, DX.
#define CYCLES(out) \
	LFENCE \
	RDTSC \
	SHLQ $32, DX \
	ORQ DX, AX \
	MOVQ AX, out

// MARK passes a mark. Changes AX, DX.
#define MARK \
	INCQ (Block_Result+Result_Marks)(DI) \
	MOVL Params_Index(DI), AX \
	MOVL $const_PortMark, DX \
	OUTL

// EXIT ends the vCPU with the status in AX.
#define EXIT \
	MOVL $const_PortExit, DX \
	OUTL \
	PAUSE \
	JMP -1(PC)

// START begins a program with the warm phase.
#define START \
	MOVQ Params_Accesses(DI), R12 \
	MOVQ R12, (Block_Result+Result_Accesses)(DI) \
	MOVQ Params_Seed(DI), R8 \
	MOVQ Params_Warm(DI), R12 \
	XORL R9, R9 \
	XORL R10, R10 \
	XORL R11, R11 \
	XORL R13, R13

// NEXT_PHASE goes to loop for the measured phase, and ends the vCPU after it.
#define NEXT_PHASE(loop) \
	CMPL R9, $0 \
	JNE finish \
	MOVL $1, R9 \
	XORL R10, R10 \
	MOVQ Params_Sample(DI), R11 \
	MOVQ Params_Accesses(DI), R12 \
	MARK \
	CYCLES((Block_Result+Result_Begin)(DI)) \
	JMP loop \
finish: \
	CYCLES((Block_Result+Result_End)(DI)) \
	MOVQ R10, (Block_Result+Result_Writes)(DI) \
	MOVQ R13, (Block_Result+Result_Sum)(DI) \
	XORL AX, AX \
	EXIT

// ACCESS reads the word at BX, or writes it if the 32 bits in CX are below
// WriteBelow, and times that when it is its turn. Changes AX, CX, DX, R14, R15.
#define ACCESS \
	DECQ R11 \
	JEQ timed \
	CMPQ CX, Params_WriteBelow(DI) \
	JCS write \
	ADDQ (BX), R13 \
	JMP done \
write: \
	MOVQ R8, (BX) \
	INCQ R10 \
	JMP done \
timed: \
	MOVQ Params_Sample(DI), R11 \
	CYCLES(R14) \
	CMPQ CX, Params_WriteBelow(DI) \
	JCS timedwrite \
	ADDQ (BX), R13 \
	JMP timeddone \
timedwrite: \
	MOVQ R8, (BX) \
	INCQ R10 \
timeddone: \
	CYCLES(R15) \
	SUBQ R14, R15 \
	COUNT(R15) \
done:

// COUNT counts the duration d in the histogram, as bucket in histogram.go
// does. Changes AX, CX, d.
#define COUNT(d) \
	CMPQ d, $const_subBuckets \
	JCS small \
	BSRQ d, CX \
	SUBQ $const_subBits, CX \
	MOVQ CX, AX \
	SHLQ $const_subBits, AX \
	SHRQ CX, d \
	ADDQ AX, d \
small: \
	MOVQ Params_Histogram(DI), AX \
	INCL (AX)(d*4)

// WORD_OF_UNIT sets BX to a word of the unit DX, chosen by the bits 40 and on of
// AX. Changes AX, DX.
#define WORD_OF_UNIT \
	IMULQ Params_Stride(DI), DX \
	ADDQ Params_Start(DI), DX \
	SHRQ $40, AX \
	ANDQ Params_Span(DI), AX \
	LEAQ (DX)(AX*1), BX
