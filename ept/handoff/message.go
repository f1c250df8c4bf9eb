package handoff

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"golang.org/x/sys/unix"

	"splitvm/ept"
	"splitvm/remote"
)

// MaxMessage bounds a message's JSON: a vNode of 16 TiB in vRegions of 1 GiB fits.
const MaxMessage = 8 << 20

// maxOwners is how many owners a vRegion has at most.
const maxOwners = 16

// maxFDs is what the kernel passes in one message (SCM_MAX_FD is 253).
const maxFDs = 250

// Message is any message; exactly one of the pointers is set, but for done.
type Message struct {
	ID      uint64      `json:"id,omitempty"`
	Attach  *Attach     `json:"attach,omitempty"`
	Resize  *Resize     `json:"resize,omitempty"`
	Move    *Move       `json:"move,omitempty"`
	Discard *Discard    `json:"discard,omitempty"`
	Stats   *StatsQuery `json:"stats_query,omitempty"`

	Ready  *Ready     `json:"ready,omitempty"`
	Moved  *Move      `json:"moved,omitempty"`
	Place  *Place     `json:"place,omitempty"`
	Placed *Placed    `json:"placed,omitempty"`
	Done   *Done      `json:"done,omitempty"`
	Report *ept.Stats `json:"stats,omitempty"`
	Failed *Failed    `json:"failed,omitempty"`
}

// Attach asks a pager to serve a vNode.
type Attach struct {
	VNode     string           `json:"vnode"`
	Session   remote.SessionID `json:"session"` // of this vNode's pagers with memory monitors
	Layout    ept.Layout       `json:"layout"`
	Capacity  uint64           `json:"capacity"` // lines
	Policy    string           `json:"policy,omitempty"`
	Prefetch  string           `json:"prefetch,omitempty"`
	DeadlineN int64            `json:"deadline_ns,omitempty"`
	Monitors  []string         `json:"monitors"` // addresses
	Regions   []Region         `json:"regions"`
}

// Region places a vRegion: its index in the layout, and the indices of its
// owners in Monitors. One without owners, id and epoch gets them when it is first
// needed (Place).
type Region struct {
	Index  uint32           `json:"i"`
	ID     remote.VRegionID `json:"id"`
	Epoch  remote.Epoch     `json:"epoch"`
	Owners []uint16         `json:"owners,omitempty"`
}

// Place asks the VMM for the owners of a vRegion that is first needed.
type Place struct {
	Index uint32 `json:"i"`
}

// Placed is the VMM's answer.
type Placed struct {
	Index   uint32           `json:"i"`
	ID      remote.VRegionID `json:"id,omitempty"`
	Epoch   remote.Epoch     `json:"epoch,omitempty"`
	Owners  []string         `json:"owners,omitempty"`  // addresses
	Refused string           `json:"refused,omitempty"` // why there are none
}

// Resize changes the ExCache's size.
type Resize struct {
	Capacity uint64 `json:"capacity"` // lines
}

// Move brings a vRegion to another memory monitor. From the pager it says that the
// vRegion's new owner has everything, and is the owner from the VMM's answer on.
type Move struct {
	Index uint32       `json:"i"`
	Epoch remote.Epoch `json:"epoch"` // of the vRegion at its new owner
	To    string       `json:"to"`    // address
}

// Discard gives up the content of guest memory.
type Discard struct {
	GPA  ept.GPA `json:"gpa"`
	Size uint64  `json:"size"`
}

// StatsQuery asks for the pager's counters.
type StatsQuery struct{}

// Ready says that the pager serves.
type Ready struct {
	PID        int    `json:"pid"`
	Generation uint64 `json:"generation"`
}

// Done answers a request.
type Done struct {
	Refused string `json:"refused,omitempty"` // why it was not done
}

// Failed says why the vNode must stop.
type Failed struct {
	GPA     ept.GPA          `json:"gpa,omitempty"`
	VRegion remote.VRegionID `json:"vregion,omitempty"`
	Owners  string           `json:"owners,omitempty"`
	Text    string           `json:"text"`
}

// Error is the pager's text.
func (f *Failed) Error() string { return f.Text }

var errMessage = errors.New("malformed message")

// decode parses and checks a message.
func decode(raw []byte) (*Message, error) {
	var m Message
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	kinds := 0
	for _, set := range []bool{m.Attach != nil, m.Resize != nil, m.Discard != nil, m.Stats != nil,
		m.Move != nil, m.Moved != nil, m.Place != nil, m.Placed != nil, m.Ready != nil, m.Done != nil, m.Report != nil, m.Failed != nil} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return nil, fmt.Errorf("%w: has %d contents, must have one", errMessage, kinds)
	}
	if m.Attach != nil {
		if err := m.Attach.check(); err != nil {
			return nil, fmt.Errorf("%w: attach: %w", errMessage, err)
		}
	}
	return &m, nil
}

// check validates what the VMM says, and sorts the regions by index.
func (a *Attach) check() error {
	if err := a.Layout.Validate(); err != nil {
		return err
	}
	if a.Layout.Shards+2 > maxFDs {
		return fmt.Errorf("%d shards: at most %d", a.Layout.Shards, maxFDs-2)
	}
	if len(a.Monitors) > 1<<16 {
		return fmt.Errorf("%d memory monitors", len(a.Monitors))
	}
	slices.SortFunc(a.Regions, func(x, y Region) int { return int(x.Index) - int(y.Index) })
	for i, r := range a.Regions {
		if i > 0 && a.Regions[i-1].Index == r.Index {
			return fmt.Errorf("vRegion %d is placed twice", r.Index)
		}
		if len(r.Owners) > maxOwners || (len(r.Owners) == 0) != (r.ID == 0) {
			return fmt.Errorf("vRegion %d has %d owners and id %v", r.Index, len(r.Owners), r.ID)
		}
		for _, o := range r.Owners {
			if int(o) >= len(a.Monitors) {
				return fmt.Errorf("vRegion %d is owned by monitor %d of %d", r.Index, o, len(a.Monitors))
			}
		}
	}
	return nil
}

// send writes a message, with descriptors on its first byte. One caller at a time.
func send(c *net.UnixConn, m *Message, fds []int) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(raw) > MaxMessage {
		return fmt.Errorf("message of %d bytes: at most %d", len(raw), MaxMessage)
	}
	raw = append(binary.LittleEndian.AppendUint32(nil, uint32(len(raw))), raw...)
	if len(fds) > 0 {
		n, _, err := c.WriteMsgUnix(raw, unix.UnixRights(fds...), nil)
		if err != nil {
			return fmt.Errorf("send descriptors: %w", err)
		}
		raw = raw[n:]
	}
	if _, err := c.Write(raw); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// receive reads a message without descriptors.
func receive(r io.Reader) (*Message, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	return receiveBody(r, length)
}

func receiveBody(r io.Reader, length [4]byte) (*Message, error) {
	n := binary.LittleEndian.Uint32(length[:])
	if n > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes long, at most %d", errMessage, n, MaxMessage)
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, fmt.Errorf("message cut short: %w", io.ErrUnexpectedEOF)
	}
	return decode(raw)
}

// receiveWithFiles reads a message and the descriptors on its first byte.
func receiveWithFiles(c *net.UnixConn) (m *Message, files []int, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	var length [4]byte
	control := make([]byte, unix.CmsgSpace(4*maxFDs))
	n, oobn, _, _, err := c.ReadMsgUnix(length[:], control)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, nil, io.EOF
	}
	if files, err = parseRights(control[:oobn]); err != nil {
		return nil, files, err
	}
	if _, err = io.ReadFull(c, length[n:]); err != nil {
		return nil, files, err
	}
	m, err = receiveBody(c, length)
	return m, files, err
}

// parseRights returns the descriptors of control messages, all of them, so that
// none leaks.
func parseRights(control []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("%w: control message: %w", errMessage, err)
	}
	var files []int
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, fd)
		}
	}
	return files, nil
}

// closeAll closes descriptors. They are no os.File: those would put a userfaultfd
// into the runtime's poller, which then woke up for each fault.
func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
