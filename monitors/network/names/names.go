// Package names is what a virtual network's name server knows by itself: the
// vNodes' names and addresses, as answers to DNS queries (RFC 1035). It is
// pure but for Upstream, which reads the host's configuration.
//
// A vNode is found as NAME and as NAME.internal (the domain that ICANN keeps
// free for such uses), and the other way around by its address. Every other
// query is for the host's name servers.
package names

import (
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Domain is what all vNodes' names are in, besides none.
const Domain = "internal"

// ttl of an answer, in seconds: a vNode may come back with another address.
const ttl = 5

// Table is the names of one network. The zero Table, and a nil one, is empty.
// Its methods are safe for concurrent use.
type Table struct {
	mu     sync.RWMutex
	byName map[string]netip.Addr // lower case; guarded by mu
	byAddr map[netip.Addr]string // guarded by mu
}

// Set gives a name its address; the last of several wins.
func (t *Table) Set(name string, a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName == nil {
		t.byName, t.byAddr = map[string]netip.Addr{}, map[netip.Addr]string{}
	}
	name = strings.ToLower(name)
	t.byName[name], t.byAddr[a] = a, name
}

// Remove forgets a name that still has the address.
func (t *Table) Remove(name string, a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name = strings.ToLower(name)
	if t.byName[name] == a {
		delete(t.byName, name)
	}
	if t.byAddr[a] == name {
		delete(t.byAddr, a)
	}
}

// Lookup finds the address of NAME or NAME.internal, with or without a final
// dot.
func (t *Table) Lookup(name string) (netip.Addr, bool) {
	if t == nil {
		return netip.Addr{}, false
	}
	name = strings.TrimSuffix(strings.ToLower(strings.TrimSuffix(name, ".")), "."+Domain)
	t.mu.RLock()
	defer t.mu.RUnlock()
	a, ok := t.byName[name]
	return a, ok
}

// reverse finds the name of an address in the form 1.2.0.10.in-addr.arpa.
func (t *Table) reverse(name string) (string, bool) {
	digits, ok := strings.CutSuffix(strings.ToLower(name), ".in-addr.arpa.")
	if !ok || t == nil {
		return "", false
	}
	parts := strings.Split(digits, ".")
	if len(parts) != 4 {
		return "", false
	}
	a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	if err != nil {
		return "", false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, ok := t.byAddr[a]
	return n, ok
}

// Answer answers a query for a name of the network's. It is not known if the
// query is for others; what is no query at all is known and has no reply.
func (t *Table) Answer(query []byte) (reply []byte, known bool) {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil || head.Response {
		return nil, true
	}
	q, err := p.Question()
	if err != nil {
		return nil, true
	}
	if q.Class != dnsmessage.ClassINET {
		return nil, false
	}
	name := q.Name.String()
	if a, ok := t.Lookup(name); ok {
		return build(head, q, func(b *dnsmessage.Builder, h dnsmessage.ResourceHeader) error {
			if q.Type != dnsmessage.TypeA {
				return nil // the name is there, but has nothing of that type
			}
			return b.AResource(h, dnsmessage.AResource{A: a.As4()})
		}, dnsmessage.RCodeSuccess), true
	}
	if n, ok := t.reverse(name); ok && q.Type == dnsmessage.TypePTR {
		return build(head, q, func(b *dnsmessage.Builder, h dnsmessage.ResourceHeader) error {
			target, err := dnsmessage.NewName(n + "." + Domain + ".")
			if err != nil {
				return err
			}
			return b.PTRResource(h, dnsmessage.PTRResource{PTR: target})
		}, dnsmessage.RCodeSuccess), true
	}
	if strings.HasSuffix(strings.ToLower(name), "."+Domain+".") || strings.Count(name, ".") == 1 && name != "." {
		return build(head, q, nil, dnsmessage.RCodeNameError), true // nobody outside knows them
	}
	return nil, false
}

// Failure is the reply that no name server could be asked; nil if query is none.
func Failure(query []byte) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	return build(head, q, nil, dnsmessage.RCodeServerFailure)
}

func build(head dnsmessage.Header, q dnsmessage.Question, answer func(*dnsmessage.Builder, dnsmessage.ResourceHeader) error, code dnsmessage.RCode) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: head.ID, Response: true, Authoritative: code != dnsmessage.RCodeServerFailure, OpCode: head.OpCode,
		RecursionDesired: head.RecursionDesired, RecursionAvailable: true, RCode: code,
	})
	b.EnableCompression()
	if b.StartQuestions() != nil || b.Question(q) != nil || b.StartAnswers() != nil {
		return nil
	}
	if answer != nil {
		if err := answer(&b, dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: ttl}); err != nil {
			return nil
		}
	}
	reply, err := b.Finish()
	if err != nil {
		return nil
	}
	return reply
}
