// Package bench measures splitvm on this host: how fast a guest starts and
// what its VMM weighs (Start), and what memory accesses cost by where memory
// is (package micro).
//
// Everything is measured beside its floor or its rival in the same run, round
// by round, as hosts are noisy and only ratios carry over. Guests are the
// programs of guest/bare.
package bench
