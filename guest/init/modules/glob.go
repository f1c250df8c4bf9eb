package modules

import "strings"

// Glob tells whether s matches the pattern of an alias: * for any bytes, ? for
// one, [a-z] and [!a-z] for one of a set, as fnmatch(3) without flags. It takes
// at most len(pattern)*len(s) steps.
func Glob(pattern, s string) bool {
	// On a mismatch the latest star takes one byte more; earlier stars need
	// never be tried again.
	star, from := -1, 0
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			star, from = p, i
			p++
			continue
		}
		if n := matchOne(pattern[p:], s[i]); n > 0 {
			p += n
			i++
			continue
		}
		if star < 0 {
			return false
		}
		from++
		p, i = star+1, from
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne tells how many bytes of the pattern match the one byte c, 0 if they
// don't.
func matchOne(pattern string, c byte) int {
	if pattern == "" {
		return 0
	}
	switch pattern[0] {
	case '?':
		return 1
	case '[':
		if end := strings.IndexByte(pattern[1:], ']'); end >= 0 {
			if matchSet(pattern[1:1+end], c) {
				return end + 2
			}
			return 0
		}
	}
	if pattern[0] == c {
		return 1
	}
	return 0
}

// matchSet tells whether c is in a set such as a-f0 or !x.
func matchSet(set string, c byte) bool {
	rest, inverted := strings.CutPrefix(set, "!")
	for i := 0; i < len(rest); i++ {
		lo, hi := rest[i], rest[i]
		if i+2 < len(rest) && rest[i+1] == '-' {
			hi = rest[i+2]
			i += 2
		}
		if lo <= c && c <= hi {
			return !inverted
		}
	}
	return inverted
}
