package top

import (
	"fmt"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"splitvm/remote/api"
)

var (
	heading = lipgloss.NewStyle().Bold(true)
	chosen  = lipgloss.NewStyle().Reverse(true)
	trouble = lipgloss.NewStyle().Foreground(lipgloss.Red)
)

// View implements tea.Model.
func (m *Model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = "splitvm top"
	return v
}

// screen is at most height lines of at most width columns.
func (m *Model) screen() string {
	lines := []string{heading.Render(m.summary())}
	if m.err != nil {
		lines = append(lines, trouble.Render("the rack does not answer: "+oneLine(m.err)))
	}
	bindings := m.keys.ofList()
	if i := m.index(); m.details && i >= 0 {
		bindings = m.keys.ofOne()
		lines = append(lines, m.one(&m.rows[i])...)
	} else {
		lines = append(lines, m.list(m.height-len(lines)-2)...)
	}
	return m.fit(lines, bindings)
}

// fit puts the keys at the bottom and cuts what does not fit on the screen.
func (m *Model) fit(lines []string, bindings []key.Binding) string {
	for room := m.height - 1; len(lines) != max(0, room); {
		if len(lines) > room {
			lines = lines[:max(0, room)]
		} else {
			lines = append(lines, "")
		}
	}
	lines = append(lines, m.help.ShortHelpView(bindings))
	cut := lipgloss.NewStyle().Inline(true).MaxWidth(max(1, m.width))
	for i, l := range lines {
		lines[i] = cut.Render(l)
	}
	return strings.Join(lines, "\n")
}

func (m *Model) summary() string {
	running := 0
	for _, r := range m.rows {
		if r.State == api.VNodeState_VNODE_STATE_RUNNING {
			running++
		}
	}
	s := fmt.Sprintf("%s: %d vNodes, %d running, %d monitors; by %s", m.cfg.Title, len(m.rows), running, len(m.now.Monitors), strings.ToLower(columns[m.sort].title))
	if m.reverse {
		s += ", reversed"
	}
	if m.now.At.IsZero() {
		s = m.cfg.Title + ": reading"
	}
	if m.paused {
		s += " [paused]"
	}
	return s
}

// list is the vNodes and the monitors in room lines. The monitors get up to a half,
// vNodes the rest.
func (m *Model) list(room int) []string {
	monitors := m.monitors(min(len(m.now.Monitors), max(1, room/2-2)))
	space := max(1, room-len(monitors)-2)
	m.first = min(m.first, m.cursor())
	m.first = max(m.first, m.cursor()-space+1, 0)
	shown := fitting(m.width)
	lines := []string{heading.Render(cells(shown, func(c *column) string { return c.title }))}
	for i := m.first; i < min(m.first+space, len(m.rows)); i++ {
		l := cells(shown, func(c *column) string { return c.text(&m.rows[i]) })
		if m.rows[i].Id == m.chosen {
			l = chosen.Render(l)
		}
		lines = append(lines, l)
	}
	if len(m.rows) == 0 && !m.now.At.IsZero() {
		lines = append(lines, "no vNodes; `splitvm run --global auto` starts one")
	}
	return append(append(lines, ""), monitors...)
}

// fitting are the columns that a screen has room for.
func fitting(width int) []*column {
	for drop := 9; ; drop-- {
		var list []*column
		sum := 0
		for i := range columns {
			if c := &columns[i]; c.drop <= drop {
				list, sum = append(list, c), sum+c.width+1
			}
		}
		if sum-1 <= width || drop == 0 {
			return list
		}
	}
}

func cells(list []*column, text func(*column) string) string {
	var out []string
	for _, c := range list {
		out = append(out, cell(text(c), c.width, c.right))
	}
	return strings.Join(out, " ")
}

func cell(text string, width int, right bool) string {
	s := lipgloss.NewStyle().Inline(true).MaxWidth(width).Width(width)
	if right {
		s = s.Align(lipgloss.Right)
	}
	return s.Render(text)
}

// monitors is the monitors' table, of n of them.
func (m *Model) monitors(n int) []string {
	line := func(name, role, state, used, share string) string {
		return cell(name, 16, false) + " " + cell(role, 10, false) + " " + cell(state, 9, false) + " " + cell(used, 30, true) + " " + cell(share, 5, true)
	}
	lines := []string{heading.Render(line("MONITOR", "ROLE", "STATE", "USED", "%"))}
	for _, x := range m.now.Monitors[:n] {
		used, share := load(x)
		lines = append(lines, line(x.Name, strings.ToLower(strings.TrimPrefix(x.Role.String(), "ROLE_")),
			strings.ToLower(strings.TrimPrefix(x.State.String(), "MEMBER_STATE_")), used, share))
	}
	if left := len(m.now.Monitors) - n; left > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", left))
	}
	return lines
}

// load is what a monitor has in use, of how much.
func load(x *api.Member) (used, share string) {
	of := func(a, b uint64, extra string) (string, string) {
		if b == 0 {
			return none, none
		}
		return extra + size(float64(a)) + " of " + size(float64(b)), fmt.Sprintf("%.0f", 100*float64(a)/float64(b))
	}
	switch u, c := x.Used, x.Capacity; x.Role {
	case api.Role_ROLE_PROCESSOR:
		return of(u.GetExcacheBytes(), c.GetExcacheBytes(), fmt.Sprintf("%d vCPUs, ", u.GetVcpus()))
	case api.Role_ROLE_MEMORY:
		return of(u.GetMemoryBytes(), c.GetMemoryBytes(), "")
	default:
		return of(u.GetDiskBytes(), c.GetDiskBytes(), "")
	}
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
