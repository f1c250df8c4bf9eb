package ept

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"splitvm/ept/excache"
	"splitvm/remote"
)

// Move says which vRegion goes where.
type Move struct {
	Region int
	To     int          // the monitor's index
	At     remote.Owned // under which To has a copy of the vRegion without a line
	// Commit makes To the owner: for good before it returns, and Placement says so
	// afterwards. No WRITE or DISCARD of the vRegion is under way meanwhile, and
	// both monitors hold the same. An error of it leaves open who the owner is.
	Commit func(context.Context) error
}

// MoveProgress is how far a move has got, in lines.
type MoveProgress struct {
	Region int    `json:"region"`
	Copied uint64 `json:"copied"` // read at the old owner and, where they hold something, written to the new one
	Left   uint64 `json:"left"`   // those whose copy is not, or not any more, the newest
}

const (
	// moveWorkers is how many batches of a move are under way at once. Where many
	// threads want a CPU a batch mostly waits for one: 16 take half the time of 4.
	moveWorkers = 16
	// moveRest is how few stale lines are left for the hand-over, during which no
	// line of the vRegion can leave the ExCache.
	moveRest = 4 * batchLines
	// moveRounds is how often a move goes over what the guest changed meanwhile
	// before it hands over whatever is left.
	moveRounds = 12
	// handOverTime bounds the wait for the changes that are under way.
	handOverTime = 5 * time.Second
)

// move is a vRegion on its way from its owner to another monitor.
type move struct {
	Move
	pager  *Pager
	region int
	from   Region

	// Guarded by changes.mu:
	stale  lineSet       // lines of which To may not have the newest backing
	busy   lineSet       // lines that are being copied
	shut   chan struct{} // not nil: no change begins, until it is closed
	sent   lineSet       // lines that To was given
	copied uint64
}

var (
	errMoving   = errors.New("another vRegion of this vNode is moving: one at a time")
	errReplicas = errors.New("it has replicas; only a vRegion with one owner can move")
	errHandOver = errors.New("hand over")
)

// Move brings a vRegion from its owner to another monitor while the guest runs,
// and returns when that is the owner. After an error the owner is who it was,
// and the guest has noticed nothing; but where Commit fails, the pager has.
func (p *Pager) Move(ctx context.Context, what Move) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	m, err := p.beginMove(ctx, what)
	if err != nil {
		return fmt.Errorf("move vRegion %d: %w", what.Region, err)
	}
	err = m.run(ctx)
	if !errors.Is(err, errHandOver) {
		p.changes.over()
	}
	if err != nil {
		return fmt.Errorf("move %v from %s to %v: %w", m.from.At, p.owners(m.from), p.peers.of(m.To), err)
	}
	return nil
}

func (p *Pager) beginMove(ctx context.Context, what Move) (*move, error) {
	from, err := p.cfg.Placement.Place(ctx, what.Region)
	if err != nil {
		return nil, err
	}
	if len(from.Owners) != 1 {
		return nil, errReplicas
	}
	n := p.layout.RegionLines
	m := &move{Move: what, pager: p, region: what.Region, from: from, stale: newLineSet(n), busy: newLineSet(n), sent: newLineSet(n)}
	for l := range remote.Line(n) {
		if p.layout.slotOf(excache.Line(what.Region)*excache.Line(n)+excache.Line(l)) != nil {
			m.stale.set(l)
		}
	}
	p.changes.mu.Lock()
	defer p.changes.mu.Unlock()
	if p.changes.move != nil {
		return nil, errMoving
	}
	p.changes.move = m
	return m, nil
}

// run copies until little is stale, and then hands over.
func (m *move) run(ctx context.Context) error {
	for round := 0; ; round++ {
		if err := m.copyAll(ctx); err != nil {
			return err
		}
		if m.pager.moveProgress().Left <= moveRest || round == moveRounds {
			return m.handOver(ctx)
		}
	}
}

// handOver makes To the owner at an instant at which both have the same.
func (m *move) handOver(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	if err := m.pager.changes.shut(soon); err != nil {
		return fmt.Errorf("write-backs are still under way after %v: %w", handOverTime, err)
	}
	if err := m.copyAll(ctx); err != nil {
		return err
	}
	if err := m.Commit(ctx); err != nil {
		// Who the owner is, a successor is told. Until then nothing may be written.
		err = fmt.Errorf("%w: %w", errHandOver, err)
		m.pager.broken(err)
		return err
	}
	return nil
}

// copyAll goes once over the lines that are stale.
func (m *move) copyAll(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	var from remote.Line // guarded by changes.mu
	for range moveWorkers {
		g.Go(func() error {
			b := newBatch()
			defer b.free()
			for ctx.Err() == nil {
				lines := m.take(&from)
				if len(lines) == 0 {
					return nil
				}
				if err := m.copy(ctx, lines, b); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// take returns the next stale lines from *from on. They are not stale any more,
// but if they change, and busy until give.
func (m *move) take(from *remote.Line) (lines []remote.Line) {
	c := &m.pager.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(lines) < batchLines {
		l, ok := m.stale.next(*from, m.busy)
		if !ok {
			break
		}
		m.stale.clear(l)
		m.busy.set(l)
		lines = append(lines, l)
		*from = l + 1
	}
	return lines
}

// give ends the copying of lines.
func (m *move) give(lines []remote.Line, err error) {
	c := &m.pager.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range lines {
		m.busy.clear(l)
		if err != nil {
			m.stale.set(l)
		}
	}
	m.copied += uint64(len(lines))
}

// moveProgress is how far the move under way has got; nil if there is none.
func (p *Pager) moveProgress() *MoveProgress {
	p.changes.mu.Lock()
	defer p.changes.mu.Unlock()
	if m := p.changes.move; m != nil {
		return &MoveProgress{Region: m.region, Copied: m.copied, Left: uint64(m.stale.count() + m.busy.count())}
	}
	return nil
}
