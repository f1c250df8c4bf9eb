package blockclient

import (
	"context"
	"fmt"
)

// Standing is what replicas know of those that were not asked.
type Standing struct {
	// Complete is that none of those holds anything that the ones which were asked do
	// not: who opens the volume needs none of them.
	Complete bool
	// Orderly are the addresses of the replicas which count, as far as those that were
	// asked know, and whose last writer ended in order: it left nothing to the others
	// alone. Those may have gone on without these only if somebody opened the volume
	// degraded since.
	Orderly []string
}

// Survey asks the replicas at cfg.Monitors how they stand, all of which have to
// answer, and changes nothing.
func Survey(ctx context.Context, cfg Config) (Standing, error) {
	cfg.ReadOnly = true
	v, err := Open(ctx, cfg)
	if err != nil {
		return Standing{}, err
	}
	defer v.Close()
	v.mu.Lock()
	defer v.mu.Unlock()
	if silent := v.in(func(r *replica) bool { return r.conn == nil }); len(silent) > 0 {
		return Standing{}, fmt.Errorf("volume %q: %w (%s)", cfg.Name, errMembers, v.whereabouts())
	}
	here, _, complete, err := v.poll()
	if err != nil {
		return Standing{}, err
	}
	s := Standing{Complete: complete}
	for _, r := range here {
		if !r.opened.LeftOpen {
			s.Orderly = append(s.Orderly, r.address)
		}
	}
	return s, nil
}
