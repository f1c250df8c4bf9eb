package main

import (
	"slices"
	"testing"
	"time"

	"splitvm/remote"
)

// An upload is abandoned when it is old and nobody has it open.
func TestAbandonedUploads(t *testing.T) {
	now := time.Now()
	got := abandonedUploads([]remote.VolumeInfo{
		{Name: "upload/old", Created: now.Add(-time.Hour)},
		{Name: "upload/at-work", Created: now.Add(-time.Hour), Writer: true},
		{Name: "upload/new", Created: now.Add(-time.Minute)},
		{Name: "uploaded", Created: now.Add(-time.Hour)},
		{Name: "root/1", Created: now.Add(-time.Hour)},
	}, now)
	if !slices.Equal(got, []string{"upload/old"}) {
		t.Errorf("%q are abandoned", got)
	}
}
