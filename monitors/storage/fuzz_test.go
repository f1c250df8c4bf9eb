package storage

import (
	"context"
	"testing"

	"splitvm/remote"
	"splitvm/remote/blockwire"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// message encodes a request.
func message(h wire.Header, body []byte) []byte {
	h.Length = uint32(len(body))
	b := make([]byte, wire.HeaderSize, wire.HeaderSize+len(body))
	h.Encode(b)
	return append(b, body...)
}

// resealed gives what begins like a header a right checksum, so that the fuzzer
// gets behind that.
func resealed(b []byte) []byte {
	for at := 0; at+wire.HeaderSize <= len(b); {
		h := wire.Header{
			Op: wire.Op(b[at+3]), Flags: wire.Flags(b[at+5]), Count: uint16(b[at+6]), ID: uint32(b[at+8]),
			Length: uint32(b[at+12]) | uint32(b[at+13])<<8, Epoch: remote.Epoch(b[at+24]),
			Offset: uint64(b[at+32])<<56 | uint64(b[at+33])<<8 | uint64(b[at+34])<<16,
		}
		h.Encode(b[at:])
		at += wire.HeaderSize + int(h.Length)
	}
	return b
}

// FuzzConnection sends anything to a monitor: it answers or ends the connection.
func FuzzConnection(f *testing.F) {
	open := message(wire.Header{Op: blockwire.Open}, (&blockwire.OpenRequest{Name: "v", Session: 5}).Append(nil))
	claim := message(wire.Header{Op: blockwire.Claim, Epoch: 1}, (&blockwire.ClaimRequest{Session: 5}).Append(nil))
	write := message(wire.Header{Op: blockwire.Write, Epoch: 1, Offset: 512}, make([]byte, 1024))
	read := message(wire.Header{Op: blockwire.Read, Count: 8}, nil)
	zero := message(wire.Header{Op: blockwire.Zeroes, Epoch: 1, Flags: blockwire.FlagDurable}, []byte{0, 16, 0, 0, 0, 0, 0, 0})
	changed := message(wire.Header{Op: blockwire.Changed}, make([]byte, 8))
	f.Add([]byte("PRI * HTTP/2.0"))
	f.Add(open)
	f.Add(append(append(append(append(append([]byte{}, open...), claim...), write...), read...), zero...))
	f.Add(append(append([]byte{}, open...), changed...))
	f.Add(append(append([]byte{}, open...), message(wire.Header{Op: blockwire.Flush, Offset: 3}, nil)...))
	s, err := OpenStore(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	if _, err := s.CreateVolume(context.Background(), 1, "v", 1<<20); err != nil {
		f.Fatal(err)
	}
	server := newDataServer(s, quietLog())
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far, err := transport.Pair()
		if err != nil {
			t.Fatal(err)
		}
		c := newConn(server, far)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.serve()
		}()
		go func() { // take the answers
			in, buf := transport.NewVec(1), make([]byte, 1<<16)
			for {
				in.Reset()
				in.Add(buf)
				if _, err := near.Recv(in); err != nil {
					return
				}
			}
		}()
		out := transport.NewVec(1)
		out.Add(resealed(b))
		for out.Len() > 0 {
			if _, err := near.Send(out); err != nil {
				break
			}
		}
		near.Shutdown()
		<-ended
		near.Close()
	})
}
