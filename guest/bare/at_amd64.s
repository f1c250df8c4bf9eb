#include "textflag.h"

// AT is the function fn that returns the address of the program.
#define AT(fn, program) \
TEXT fn(SB), NOSPLIT, $0-8 \
	LEAQ program(SB), AX \
	MOVQ AX, ret+0(FP) \
	RET

AT(·greetAt, ·greet)
AT(·offAt, ·off)
AT(·echoAt, ·echo)
AT(·chatAt, ·chat)
AT(·roamAt, ·roam)
AT(·exitAt, ·exit)
AT(·touchAt, ·touch)
AT(·randomAt, ·random)
AT(·zipfAt, ·zipf)
AT(·chainAt, ·chain)
AT(·chaseAt, ·chase)
AT(·leapAt, ·leap)
AT(·fillAt, ·fill)
AT(·kickAt, ·kick)
AT(·verifyAt, ·verify)
AT(·historyAt, ·history)
AT(·rubbishAt, ·rubbish)
