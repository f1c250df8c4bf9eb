package top

import "charm.land/bubbles/v2/key"

// keys are what the screen obeys; they are also its help.
type keys struct {
	up, down, enter, back, sort, reverse, pause, quit key.Binding
}

func newKeys() keys {
	bind := func(help string, names ...string) key.Binding {
		return key.NewBinding(key.WithKeys(names...), key.WithHelp(names[0], help))
	}
	return keys{
		up: bind("up", "↑", "up", "k"), down: bind("down", "↓", "down", "j"), enter: bind("details", "enter"),
		back: bind("back", "esc", "backspace", "left"), sort: bind("sort", "s", ">"), reverse: bind("reverse", "r"),
		pause: bind("pause", "p", "space"), quit: bind("quit", "q", "ctrl+c"),
	}
}

// ofList are the keys of the list, ofOne those of one vNode's details.
func (k keys) ofList() []key.Binding {
	return []key.Binding{k.up, k.down, k.enter, k.sort, k.reverse, k.pause, k.quit}
}

func (k keys) ofOne() []key.Binding { return []key.Binding{k.back, k.pause, k.quit} }
