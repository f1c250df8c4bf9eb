package rack

import (
	"time"

	"google.golang.org/grpc/backoff"
)

// quickBackoff suits monitors that are restarted within seconds; gRPC's default
// grows to two minutes.
var quickBackoff = backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second}
