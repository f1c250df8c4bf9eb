#include "bare.h"

// exit ends with the status that it was given.
TEXT ·exit(SB), NOSPLIT|NOFRAME, $0-0
	MOVL Params_Status(DI), AX
	EXIT
	END_OF_CODE
