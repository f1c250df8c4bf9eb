package rack

import (
	"fmt"
	"strconv"
	"testing"

	"golang.org/x/sync/errgroup"
)

// 50 vNodes launched at once over 4 memory monitors all run, their memory is
// spread within 10 % of even, and all of it is free at the end.
func TestFifty(t *testing.T) {
	const vnodes = 50
	r := up(t, "--memories", "4", "--memory", "1G")
	var g errgroup.Group
	var names []string
	for i := range vnodes {
		name := fmt.Sprintf("n%d", i)
		names = append(names, name)
		g.Go(func() error {
			out, err := r.try("run", "--global", "auto", "--detach", "--name", name, "--bare",
				fmt.Sprintf("verify,in-order,writes=1,accesses=%d,seed=%d", 1<<40, i+1), "--mem", "16M", "--vregion", "4M", "--excache", "2M")
			if err != nil {
				return fmt.Errorf("%s: %w: %s", name, err, out)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	// 14 MiB of each are written, of which 2 MiB may be in the ExCache. On the way
	// there it is chance which vRegions are ahead, and monitors report in turn: the
	// spread is that of when nothing has come for ten looks, each of which takes a
	// second or more beside 50 guests that don't rest.
	const enough = vnodes * 12 << 20
	var held []float64
	still := 0
	r.eventually("all memory is written", func() bool {
		before := sum(held)
		held = r.held()
		if still++; sum(held) > before {
			still = 0
		}
		return sum(held) >= enough*0.98 && still >= 10
	})
	if n := len(list[[]vnode](r, "ps")); n != vnodes {
		t.Errorf("%d vNodes run, want %d", n, vnodes)
	}
	mean := sum(held) / float64(len(held))
	for i, h := range held {
		if h < 0.9*mean || h > 1.1*mean {
			t.Errorf("memory monitor %d holds %.1f MiB, the mean is %.1f", i, h/(1<<20), mean/(1<<20))
		}
		t.Logf("memory monitor %d holds %.3f of the mean of %.1f MiB", i, h/mean, mean/(1<<20))
	}
	r.must(append([]string{"kill"}, names[:vnodes/2]...)...)
	r.must(append([]string{"stop"}, names[vnodes/2:]...)...)
	r.must(append([]string{"rm"}, names...)...)
	r.empty()
}

// held is what each memory monitor holds, in bytes.
func (r *rack) held() []float64 {
	var held []float64
	for _, m := range list[[]member](r, "monitor", "ls") {
		if m.Role == "ROLE_MEMORY" {
			n, _ := strconv.ParseFloat(m.Used.Memory, 64)
			held = append(held, n)
		}
	}
	return held
}

func sum(list []float64) (s float64) {
	for _, x := range list {
		s += x
	}
	return s
}
