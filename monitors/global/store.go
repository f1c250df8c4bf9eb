package global

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// Keys in etcd, below prefix. Ids are of 16 hexadecimal digits, so that they
// sort.
const (
	prefix    = "/splitvm/"
	keyLeader = prefix + "leader"
	keyRack   = prefix + "rack"
	keyCount  = prefix + "count/"
	keyMember = prefix + "member/"
	keyVNode  = prefix + "vnode/"
	keyRegion = prefix + "vregion/"
	keyVolume = prefix + "volume/"
	keyHome   = prefix + "home/"
	keyEvent  = prefix + "event/"
)

func idKey(kind string, id uint64) string { return fmt.Sprintf("%s%016x", kind, id) }

// maxOps is how many changes one transaction has at most.
const maxOps = 128

// writeTime bounds a write to etcd.
const writeTime = 10 * time.Second

// errDeposed is that another global monitor leads.
var errDeposed = errors.New("this global monitor does not lead any more")

// store writes a leader's changes.
type store struct {
	client *clientv3.Client
	key    string // of the election
	rev    int64
}

// change collects what is written together.
type change struct {
	ops    []clientv3.Op     // each of another key, as etcd demands of a transaction
	counts map[string]uint64 // last ids given, by kind; written first
	err    error

	networks bool // who is on which network, or where, may have changed
}

func (c *change) put(key string, m proto.Message, opts ...clientv3.OpOption) {
	b, err := proto.Marshal(m)
	c.err = errors.Join(c.err, err)
	c.ops = append(c.ops, clientv3.OpPut(key, string(b), opts...))
}

func (c *change) text(key, value string) { c.ops = append(c.ops, clientv3.OpPut(key, value)) }

func (c *change) remove(key string) { c.ops = append(c.ops, clientv3.OpDelete(key)) }

// leads tells whether the election is still ours: a leader that was stopped for a while
// may not know yet that it isn't.
func (s *store) leads(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	r, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(s.key), "=", s.rev)).Commit()
	if err == nil && !r.Succeeded {
		err = errDeposed
	}
	return err
}

// commit writes a change, provided that the election is still ours: at once, or
// in the order of the change if it is too large for one transaction. Where it is
// cut short, what is missing is the end of it.
func (s *store) commit(ctx context.Context, c *change) error {
	if c.err != nil {
		return fmt.Errorf("write the rack's state: %w", c.err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	var ops []clientv3.Op
	for kind, n := range c.counts {
		ops = append(ops, clientv3.OpPut(keyCount+kind, strconv.FormatUint(n, 10)))
	}
	for ops = append(ops, c.ops...); len(ops) > 0; {
		n := min(len(ops), maxOps)
		r, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(s.key), "=", s.rev)).Then(ops[:n]...).Commit()
		if err != nil {
			return fmt.Errorf("write the rack's state: %w", err)
		}
		if !r.Succeeded {
			return errDeposed
		}
		ops = ops[n:]
	}
	return nil
}
