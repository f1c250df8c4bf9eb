package network

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// sum is RFC 1071's, word by word; 0xffff where the checksum in p is right.
func sum(p []byte, more ...byte) uint32 {
	all := append(append([]byte(nil), more...), p...)
	if len(all)%2 == 1 {
		all = append(all, 0)
	}
	var s uint32
	for i := 0; i < len(all); i += 2 {
		s += uint32(all[i])<<8 | uint32(all[i+1])
		s = s&0xffff + s>>16
	}
	return s
}

// tcpSum is sum with the pseudo header.
func tcpSum(f frame) uint32 {
	p := f.payload()
	n := len(p) - minIPv4
	return sum(p[minIPv4:], append(append([]byte(nil), p[12:20]...), 0, p[9], byte(n>>8), byte(n))...)
}

// stream is a TCP packet that a guest leaves to us to segment.
func stream(data []byte, mss int) frame {
	f := datagram(addrA, addrB, MACOf(addrB), "")[:HeaderSize+etherSize+minIPv4]
	tcp := make([]byte, minTCP+4)
	binary.BigEndian.PutUint32(tcp[4:], 0xfffffff0) // wraps around
	tcp[12], tcp[13] = (minTCP+4)/4<<4, tcpFIN|tcpPSH|tcpCWR|0x10
	f = append(append(f, tcp...), data...)
	p := f.payload()
	p[9] = protoTCP
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[4:], 0xffff) // the id wraps around too
	n := len(p) - minIPv4
	pseudo := sum(nil, append(append([]byte(nil), p[12:20]...), 0, protoTCP, byte(n>>8), byte(n))...)
	binary.BigEndian.PutUint16(p[minIPv4+16:], uint16(pseudo))
	f[0], f[1] = flagNeedsChecksum, gsoTCPv4
	binary.LittleEndian.PutUint16(f[4:], uint16(mss))
	binary.LittleEndian.PutUint16(f[6:], etherSize+minIPv4)
	binary.LittleEndian.PutUint16(f[8:], 16)
	return f
}

func TestSegment(t *testing.T) {
	data := make([]byte, 10_001)
	for i := range data {
		data[i] = byte(i * 7)
	}
	for _, mss := range []int{minMSS, 536, 1448, 10_000, 10_001, 20_000} {
		f := stream(data, mss)
		if err := f.check(); err != nil {
			t.Fatal(err)
		}
		var got []byte
		var flags []byte
		f.finish(0, func(s frame) {
			p := s.payload()
			if s.flags() != 0 || s.gso() != 0 || sum(p[:minIPv4]) != 0xffff || tcpSum(s) != 0xffff {
				t.Fatalf("MSS %d: segment %x: unfinished, or a checksum is wrong", mss, []byte(s[:80]))
			}
			if n := binary.BigEndian.Uint16(p[2:]); int(n) != len(p) || len(p)-minIPv4-minTCP-4 > mss {
				t.Fatalf("MSS %d: a segment of %d bytes says %d", mss, len(p), n)
			}
			if seq := binary.BigEndian.Uint32(p[minIPv4+4:]) - 0xfffffff0; int(seq) != len(got) {
				t.Fatalf("MSS %d: sequence number %d after %d bytes", mss, seq, len(got))
			}
			got = append(got, p[minIPv4+minTCP+4:]...)
			flags = append(flags, p[minIPv4+13])
		})
		if !bytes.Equal(got, data) {
			t.Errorf("MSS %d: the segments have other data", mss)
		}
		for i, b := range flags {
			last, first := i == len(flags)-1, i == 0
			if b&tcpFIN != 0 != last || b&tcpPSH != 0 != last || b&tcpCWR != 0 != first {
				t.Errorf("MSS %d: segment %d of %d has flags %#x", mss, i, len(flags), b)
			}
		}
	}
}

func TestFinishAsTheGuestTakesIt(t *testing.T) {
	f := stream(make([]byte, 5000), 1000)
	var whole int
	f.finish(Checksum|TSO4, func(s frame) {
		whole++
		if !bytes.Equal(s, stream(make([]byte, 5000), 1000)) {
			t.Error("a frame that the guest takes as it is was changed")
		}
	})
	pieces := 0
	f.finish(Checksum, func(s frame) {
		pieces++
		if s.flags() != flagNeedsChecksum || s.gso() != 0 || s.csumStart() != etherSize+minIPv4 {
			t.Errorf("segment with header %x, want one whose checksum is begun", []byte(s[:HeaderSize]))
		}
		s.fillChecksum()
		if tcpSum(s) != 0xffff {
			t.Error("a checksum that was begun wrongly")
		}
	})
	if whole != 1 || pieces != 5 {
		t.Errorf("%d frames whole and %d pieces, want 1 and 5", whole, pieces)
	}
}

// FuzzFrame has a guest send anything: what passes the check can be finished
// for every receiver, and then needs no more work.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(stream(make([]byte, 100), minMSS)), uint32(0))
	f.Add([]byte(datagram(addrA, addrB, everybody, "hello")), uint32(Checksum))
	f.Fuzz(func(t *testing.T, b []byte, accept uint32) {
		fr := frame(b)
		if fr.check() != nil {
			return
		}
		_ = fr.sender()
		total := 0
		fr.finish(Offload(accept), func(p frame) {
			total += len(p)
			if err := p.check(); err != nil {
				t.Errorf("a finished frame is broken: %v", err)
			}
			if Offload(accept)&TSO4 == 0 && p.gso()&^gsoECN != gsoNone || Offload(accept)&Checksum == 0 && p.flags()&flagNeedsChecksum != 0 {
				t.Errorf("header %x for a guest that takes %d", []byte(p[:HeaderSize]), accept)
			}
		})
		if total == 0 || total > len(b)*(1+HeaderSize+etherSize+120) {
			t.Errorf("%d bytes became %d", len(b), total)
		}
	})
}
