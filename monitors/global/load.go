package global

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// rackBits is how many bits of a vRegion's id tell the rack; the others count.
const (
	rackBits  = 23
	countBits = 40
)

// load reads the state from etcd. It returns the revision that it is of.
func (l *leader) load(ctx context.Context) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.store.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return 0, fmt.Errorf("read the rack's state: %w", err)
	}
	for _, kv := range r.Kvs {
		if err := l.take(string(kv.Key), kv.Value, clientv3.LeaseID(kv.Lease)); err != nil {
			return 0, fmt.Errorf("read the rack's state: %s: %w", kv.Key, err)
		}
	}
	for _, m := range l.members {
		l.offer(m)
	}
	l.promiseAll()
	for id := range l.homes {
		if l.members[id] == nil {
			l.away[id] = time.Now()
		}
	}
	if l.rack == 0 {
		l.rack = rand.Uint64N(1<<rackBits-1) + 1
		var c change
		c.text(keyRack, fmt.Sprint(l.rack))
		return r.Header.Revision, l.store.commit(ctx, &c)
	}
	return r.Header.Revision, nil
}

// take puts one key of etcd into memory.
func (l *leader) take(key string, value []byte, lease clientv3.LeaseID) (err error) {
	switch kind := key[:strings.LastIndex(key, "/")+1]; kind {
	case keyCount:
		l.counts[strings.TrimPrefix(key, keyCount)], err = strconv.ParseUint(string(value), 10, 64)
	case keyMember:
		m := &member{Member: new(api.Member), lease: lease}
		err = proto.Unmarshal(value, m.Member)
		l.members[m.Id] = m
	case keyVNode:
		v := new(api.VNode)
		err = proto.Unmarshal(value, v)
		l.vnodes[v.Id] = v
		l.names[v.GetSpec().GetName()] = v.Id
	case keyRegion:
		r := new(api.VRegion)
		err = proto.Unmarshal(value, r)
		l.vregions[r.Vnode] = append(l.vregions[r.Vnode], r)
		l.known[r.Id] = r
		if r.Target != 0 {
			l.moves.wanted[r.Id] = r
		}
	case keyVolume:
		v := new(api.VolumePlace)
		err = proto.Unmarshal(value, v)
		l.volumes[v.Name] = v
	case keyHome:
		m := new(api.Member)
		err = proto.Unmarshal(value, m)
		l.homes[m.Id] = m
	case keyEvent:
		e := new(api.Event)
		err = proto.Unmarshal(value, e)
		l.events.restore(e)
	default:
		if key == keyRack {
			l.rack, err = strconv.ParseUint(string(value), 10, 64)
		}
	}
	return err
}

// promiseAll puts into the pools what was decided earlier.
func (l *leader) promiseAll() {
	for _, v := range l.vnodes {
		if active(v) {
			l.pools[api.Role_ROLE_PROCESSOR].Promise(place.ID(v.Processor), vnodeNeed(v.Spec))
		}
	}
	for _, list := range l.vregions {
		for _, r := range list {
			for _, o := range r.Owners {
				l.pools[api.Role_ROLE_MEMORY].Promise(place.ID(o), place.Amount{r.Bytes})
			}
			if r.Target != 0 {
				l.pools[api.Role_ROLE_MEMORY].Promise(place.ID(r.Target), place.Amount{r.Bytes})
			}
		}
	}
	for _, v := range l.volumes {
		for _, o := range v.Replicas {
			l.pools[api.Role_ROLE_STORAGE].Promise(place.ID(o), place.Amount{v.Bytes})
		}
		if v.MovesTo != 0 {
			l.pools[api.Role_ROLE_STORAGE].Promise(place.ID(v.MovesTo), place.Amount{v.Bytes})
		}
	}
}
