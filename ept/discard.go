package ept

import "errors"

// Discard gives up the content of [gpa, gpa+size).
func (p *Pager) Discard(gpa GPA, size uint64) error {
	return errors.New("discard: not there yet")
}
