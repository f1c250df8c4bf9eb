package memory

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"splitvm/remote"
	"splitvm/remote/client"
	"splitvm/remote/server"
)

func TestSmoke(t *testing.T) {
	st, err := NewStore(StoreConfig{Mem: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	srv := server.New(server.Config{Store: st, Options: 1})
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	go srv.Serve(l)
	for _, sums := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		c, err := client.Dial(ctx, client.Config{Address: l.Addr().String(), Checksums: sums})
		if err != nil {
			t.Fatal(err)
		}
		at := remote.Owned{VRegion: 7, Epoch: 3}
		if err := c.Create(ctx, at, 1000); err != nil {
			t.Fatal(err)
		}
		mem := bytes.Repeat([]byte("abcdefgh"), 3*512)
		if err := c.WriteLines(ctx, at, []remote.Run{{First: 5, Count: 1}, {First: 7, Count: 2}}, [][]byte{mem}); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5*4096)
		z, err := c.ReadLines(ctx, at, []remote.Run{{First: 5, Count: 5}}, [][]byte{got})
		if err != nil {
			t.Fatal(err)
		}
		if z[0] != 0b10010 {
			t.Fatalf("%b", z[0])
		}
		if !bytes.Equal(got[:4096], mem[:4096]) || !bytes.Equal(got[8192:16384], mem[4096:]) {
			t.Fatal("content")
		}
		t.Log(c.Stat(ctx, 7))
		c.Close()
	}
	srv.Close()
	st.Close()
}
