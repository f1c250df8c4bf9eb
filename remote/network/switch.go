package network

import (
	"fmt"
	"net/netip"
	"sync"
)

// Station is an end of the network, known by its MAC address.
type Station interface {
	// Deliver takes a frame with its virtio_net_hdr, in which checksum and
	// segmentation may be left to do. The bytes are the caller's again, and
	// may have changed, when it returns. It must not wait for its receiver.
	Deliver(frame []byte)
}

// Uplink joins a switch with others of the same network, on other hosts.
type Uplink interface {
	// Carry takes a frame of a station that is for nobody here, or for everybody. The
	// bytes are the caller's again when it returns. It must not wait.
	Carry(frame []byte, from, to MAC)
}

// Switch carries frames between the stations of one network.
type Switch struct {
	mu       sync.RWMutex
	stations map[MAC]Station // guarded by mu
	uplink   Uplink          // nil: there is none; guarded by mu
}

// NewSwitch makes a network without stations.
func NewSwitch() *Switch { return &Switch{stations: map[MAC]Station{}} }

// AddStation makes st known by its address. It fails if the address is taken.
func (s *Switch) AddStation(m MAC, st Station) error {
	if m.Group() || m == (MAC{}) {
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

// SetUplink joins the switch with others.
func (s *Switch) SetUplink(u Uplink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uplink = u
}

// Send carries a frame from one station to those that it is for. Frames for
// nobody go to the uplink, and are dropped if there is none: every station is known. The bytes
// may change.
func (s *Switch) Send(f []byte) {
	to := frame(f).dst()
	s.mu.RLock()
	st, up := s.stations[to], s.uplink
	s.mu.RUnlock()
	if up != nil && st == nil {
		up.Carry(f, frame(f).src(), to)
	}
	if !to.Group() {
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

// Receive carries a frame that came by the uplink, and must be that of the vNode with
// an address, to the ports that it is for: not to other stations, which are for
// this host's own vNodes, and not back. The bytes may change. An error is why the frame is
// refused.
func (s *Switch) Receive(b []byte, from netip.Addr) error {
	f := frame(b)
	if err := f.checkFrom(MACOf(from), from); err != nil {
		return err
	}
	to := f.dst()
	if !to.Group() {
		s.mu.RLock()
		p, ok := s.stations[to].(*Port)
		s.mu.RUnlock()
		if ok {
			p.Deliver(b)
		}
		return nil
	}
	own := append([]byte(nil), b...) // each may change it
	for _, st := range s.others(f.src()) {
		if p, ok := st.(*Port); ok {
			copy(own, b)
			p.Deliver(own)
		}
	}
	return nil
}
