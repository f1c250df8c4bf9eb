package bare

// Word is what fill and verify write to an address at the sequence-th write of
// its line; before the first, sequence 0, it is 0.
func Word(pattern, address, sequence uint64) uint64 {
	if sequence == 0 {
		return 0
	}
	x := (pattern^address)*0x9e3779b97f4a7c15 ^ sequence
	x ^= x >> 29
	return x * 0xbf58476d1ce4e5b9
}
