package probe

import "testing"

// Every check says what it found, and what to do unless all is well.
func TestHostChecksAreActionable(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Host(t.Context()) {
		t.Logf("%-18s %-5s %s", c.Name, c.Level, c.Found)
		if c.Name == "" || c.Found == "" || seen[c.Name] {
			t.Errorf("check %+v is empty or there twice", c)
		}
		if c.Level != OK && c.Remedy == "" {
			t.Errorf("check %s is %s without a remedy", c.Name, c.Level)
		}
		seen[c.Name] = true
	}
	for _, name := range []string{"kvm", "userfaultfd", "tap", "open-files", "memory"} {
		if !seen[name] {
			t.Errorf("no check of %s", name)
		}
	}
}

func TestInRootCPUGroup(t *testing.T) {
	for groups, want := range map[string]bool{
		"":                                      true,
		"0::/\n":                                true,
		"0::/user.slice/a.scope\n":              false,
		"2:cpuset:/a\n1:cpu,cpuacct:/\n0::/a\n": true,
		"1:cpuacct,cpu:/a\n0::/\n":              false,
	} {
		if is := inRootCPUGroup(groups); is != want {
			t.Errorf("%q: %v, want %v", groups, is, want)
		}
	}
}
