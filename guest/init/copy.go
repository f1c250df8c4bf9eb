//go:build linux && amd64

package main

import (
	"encoding/binary"
	"io"

	"splitvm/guest/agent"
	"splitvm/guest/agent/tree"
)

// putTree unpacks the archive that the host sends.
func putTree(path string, r *agent.Reader, w *agent.Writer) error {
	if err := w.Send(agent.Started, nil); err != nil {
		return err
	}
	in := &hostInput{r: r, w: w}
	if err := tree.Unpack(in, path); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // what is behind the archive's end
		return err
	}
	return w.Send(agent.Exited, agent.Status{}.Encode())
}

// getTree sends an archive to the host.
func getTree(path string, w *agent.Writer) error {
	if err := w.Send(agent.Started, nil); err != nil {
		return err
	}
	if err := tree.Pack(w.Stream(agent.Stdout), path); err != nil {
		return err
	}
	return w.Send(agent.Exited, agent.Status{}.Encode())
}

// hostInput reads what the host sends as Stdin.
type hostInput struct {
	r     *agent.Reader
	w     *agent.Writer
	rest  []byte
	ended bool
}

func (h *hostInput) Read(p []byte) (int, error) {
	for len(h.rest) == 0 {
		if h.ended {
			return 0, io.EOF
		}
		t, data, err := h.r.Next()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // the host is gone
		}
		if err != nil {
			return 0, err
		}
		switch t {
		case agent.Stdin:
			h.rest = data
			if err := h.w.Send(agent.Taken, binary.LittleEndian.AppendUint32(nil, uint32(len(data)))); err != nil {
				return 0, err
			}
		case agent.StdinEnd:
			h.ended = true
		}
	}
	n := copy(p, h.rest)
	h.rest = h.rest[n:]
	return n, nil
}
