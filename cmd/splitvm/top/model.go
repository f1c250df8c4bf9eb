package top

import (
	"slices"
	"time"

	"charm.land/bubbles/v2/help"
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
)

// Config is what a screen shows.
type Config struct {
	Title string         // which rack
	Read  func() Reading // may take a while; is not called twice at once
	Every time.Duration  // between the end of a reading and the next
	Sort  string         // of Columns; empty: cpu%
}

// Model is the screen. It implements tea.Model.
type Model struct {
	cfg  Config
	keys keys
	help help.Model

	now     Reading
	rows    []row // of now, as they are shown
	err     error // of the last reading, if that failed
	paused  bool
	sort    int // of columns
	reverse bool
	chosen  uint64 // vID
	details bool   // of the chosen one
	first   int    // row on the screen
	width   int
	height  int
}

var _ tea.Model = (*Model)(nil)

// tick is that it is time to read.
type tick struct{}

// New makes a screen.
func New(cfg Config) *Model {
	if cfg.Sort == "" {
		cfg.Sort = "cpu%"
	}
	return &Model{cfg: cfg, keys: newKeys(), help: help.New(), sort: max(0, slices.Index(Columns(), cfg.Sort)), width: 80, height: 24}
}

// Init implements tea.Model.
func (m *Model) Init() tea.Cmd { return m.read }

func (m *Model) read() tea.Msg { return m.cfg.Read() }

// Update implements tea.Model.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case Reading:
		m.take(msg)
		return m, tea.Tick(m.cfg.Every, func(time.Time) tea.Msg { return tick{} })
	case tick:
		if !m.paused {
			return m, m.read
		}
		return m, tea.Tick(m.cfg.Every, func(time.Time) tea.Msg { return tick{} })
	case tea.KeyPressMsg:
		return m, m.press(msg)
	}
	return m, nil
}

// take shows a reading, unless the screen was paused meanwhile. One that failed
// leaves what there is.
func (m *Model) take(r Reading) {
	if m.paused {
		return
	}
	if m.err = r.Err; r.Err != nil {
		return
	}
	m.rows, m.now = rows(&m.now, &r), r
	m.order()
}

// press obeys a key.
func (m *Model) press(msg tea.KeyPressMsg) tea.Cmd {
	switch k := &m.keys; {
	case key.Matches(msg, k.quit):
		return tea.Quit
	case key.Matches(msg, k.pause):
		m.paused = !m.paused
	case key.Matches(msg, k.back):
		m.details = false
	case m.details:
	case key.Matches(msg, k.enter):
		m.details = len(m.rows) > 0
	case key.Matches(msg, k.sort):
		m.sort = (m.sort + 1) % len(columns)
		m.order()
	case key.Matches(msg, k.reverse):
		m.reverse = !m.reverse
		m.order()
	case key.Matches(msg, k.up):
		m.choose(m.cursor() - 1)
	case key.Matches(msg, k.down):
		m.choose(m.cursor() + 1)
	}
	return nil
}

// order sorts the rows. The chosen one stays chosen; if it is gone, the one at its
// place is.
func (m *Model) order() {
	at := m.cursor()
	slices.SortStableFunc(m.rows, func(a, b row) int {
		n := columns[m.sort].order(&a, &b)
		if n == 0 {
			n = byName(&a, &b)
		}
		if m.reverse {
			n = -n
		}
		return n
	})
	if i := m.index(); i < 0 {
		m.details = false
		m.choose(at)
	}
}

// index is the row of the chosen vNode, -1 if it is gone.
func (m *Model) index() int {
	return slices.IndexFunc(m.rows, func(r row) bool { return r.Id == m.chosen })
}

func (m *Model) cursor() int { return max(0, m.index()) }

func (m *Model) choose(i int) {
	if n := len(m.rows); n > 0 {
		m.chosen = m.rows[min(max(i, 0), n-1)].Id
	}
}
