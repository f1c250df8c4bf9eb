package pci

// Stopping tells whether the device is on its way to a stop.
func (t *Transport) Stopping() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase == stopping
}
