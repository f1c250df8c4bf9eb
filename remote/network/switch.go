package network

import (
	"fmt"
	"sync"
)

// Station is an end of the network, known by its MAC address.
type Station interface {
	// Deliver takes a frame with its virtio_net_hdr, in which checksum and
	// segmentation may be left to do. The bytes are the caller's again, and
	// may have changed, when it returns. It must not wait for its receiver.
	Deliver(frame []byte)
}

// Switch carries frames between the stations of one network.
type Switch struct {
	mu       sync.RWMutex
	stations map[MAC]Station // guarded by mu
}

// NewSwitch makes a network without stations.
func NewSwitch() *Switch { return &Switch{stations: map[MAC]Station{}} }

// AddStation makes st known by its address. It fails if the address is taken.
func (s *Switch) AddStation(m MAC, st Station) error {
	if m.group() || m == (MAC{}) {
		return fmt.Errorf("add station %x: not the address of one station", m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stations[m] != nil {
		return fmt.Errorf("add station %x: the address is taken", m)
	}
	s.stations[m] = st
	return nil
}

// RemoveStation forgets the station; a frame may still be on its way to it.
func (s *Switch) RemoveStation(m MAC) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.stations, m)
}

// Send carries a frame from one station to those that it is for. Frames for
// nobody are dropped: every station is known. The bytes may change.
func (s *Switch) Send(f []byte) {
	to := frame(f).dst()
	if !to.group() {
		s.mu.RLock()
		st := s.stations[to]
		s.mu.RUnlock()
		if st != nil {
			st.Deliver(f)
		}
		return
	}
	own := append([]byte(nil), f...) // each may change it
	for _, st := range s.others(frame(f).src()) {
		copy(own, f)
		st.Deliver(own)
	}
}

// others are all stations but one.
func (s *Switch) others(m MAC) []Station {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]Station, 0, len(s.stations))
	for at, st := range s.stations {
		if at != m {
			list = append(list, st)
		}
	}
	return list
}
