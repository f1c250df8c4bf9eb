package ept

import (
	"runtime"
	"testing"
)

func TestBet(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("is never on with one CPU")
	}
	var b bet
	window := func(well int) {
		for i := range betWindow {
			b.ended(i < well)
		}
	}
	want := func(on bool, what string) {
		t.Helper()
		if b.on() != on {
			t.Errorf("%s: on %v", what, b.on())
		}
	}
	const enough = betWindow / 4 * 3
	window(enough - 1)
	want(false, "too few ended well")
	window(enough)
	want(true, "enough did")
	window(betWindow)
	want(true, "all did")
	window(enough - 1)
	want(false, "too few did")
	for range betRest {
		window(betWindow)
		want(false, "it rests")
	}
	window(enough)
	want(true, "it has rested")
}
