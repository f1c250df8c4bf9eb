package debs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// An apt is a private configuration of apt: its own sources, lists, downloads
// and an empty package status, so that a dependency closure is complete whatever
// the machine has installed. Used by one process at a time (the cache's lock).
type apt struct {
	dir string // holds everything; its apt.conf names the rest
}

// aptConf is read after the machine's own configuration (apt.conf(5)), which
// keeps its proxies. Hooks are cleared: container images have some that delete
// from the machine's caches. Downloads run as the caller, as the cache may be
// where apt's own user can't read.
const aptConf = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Retries "3";
Dir::State "%[1]s";
Dir::State::lists "%[1]s/lists";
Dir::State::status "%[1]s/status";
Dir::State::extended_states "%[1]s/extended_states";
Dir::Cache "%[1]s/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "%[1]s/sources.list.d";
Dir::Etc::preferences "%[1]s/preferences";
Dir::Etc::preferencesparts "/dev/null";
Dir::Log "%[1]s/log";
`

// aptPreferences takes QEMU, and no more than what QEMU is made of, from
// backports, which apt otherwise leaves alone (apt_preferences(5)).
const aptPreferences = `Package: qemu-* seabios ipxe-qemu
Pin: release n=` + release + `-backports
Pin-Priority: 990
`

// newApt writes the configuration below dir and brings the lists up to date.
func newApt(ctx context.Context, dir string, sources []source) (*apt, error) {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is not here: the rig's packages are fetched on Debian or a distribution made of it; "+
				"fetch them on such a machine (`rig fetch`) and copy its cache folder", tool)
		}
	}
	for _, sub := range []string{"lists/partial", "cache", "sources.list.d", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	files := map[string]string{
		"status":                     "",
		"preferences":                aptPreferences,
		"apt.conf":                   fmt.Sprintf(aptConf, dir),
		"sources.list.d/rig.sources": deb822(sources),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	a := &apt{dir: dir}
	if _, err := a.run(ctx, "", "apt-get", "update", "-q", "--error-on=any"); err != nil {
		return nil, fmt.Errorf("%w\nIs the network there? Is %s-backports on that mirror? Set %s to the URI of a Debian archive that has it", err, release, MirrorEnv)
	}
	return a, nil
}

// run runs an apt tool with our configuration in folder cwd and returns its
// standard output; an error has the end of what it said.
func (a *apt) run(ctx context.Context, cwd, tool string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, tool, append([]string{"-c", filepath.Join(a.dir, "apt.conf")}, args...)...)
	cmd.Dir = cwd
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its methods die with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", tool, strings.Join(args, " "), errors.Join(ctx.Err(), err), tail(stderr.String(), 15))
	}
	return stdout.String(), nil
}

// closure downloads packages with all that they depend on into folder dir and
// returns the paths of the .deb files.
func (a *apt) closure(ctx context.Context, dir string, packages []string) ([]string, error) {
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
		return nil, err
	}
	install := []string{"-o", "Dir::Cache::archives=" + dir, "install", "-q", "--download-only"}
	if _, err := a.run(ctx, "", "apt-get", append(install, packages...)...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.deb"))
}

// kernelPackage finds the newest stock cloud kernel of a series ("6.12") through
// the meta-package's dependencies, as PACKAGE and VERSION.
func (a *apt) kernelPackage(ctx context.Context, series string) (pkg, version string, err error) {
	const meta = "linux-image-cloud-amd64"
	shown, err := a.run(ctx, "", "apt-cache", "show", meta)
	if err != nil {
		return "", "", err
	}
	stanzas, err := readStanzas(strings.NewReader(shown))
	if err != nil {
		return "", "", fmt.Errorf("apt-cache show %s: %w", meta, err)
	}
	for _, s := range stanzas { // newest first
		for dep := range strings.SplitSeq(s["depends"], ",") {
			name, constraint, _ := strings.Cut(strings.TrimSpace(dep), " ")
			if strings.HasPrefix(name, "linux-image-"+series+".") {
				return name, strings.Trim(constraint, "(=) "), nil
			}
		}
	}
	return "", "", fmt.Errorf("no kernel %s among the versions of %s in %s and its backports", series, meta, release)
}

// download fetches one package in one version into folder dir and returns the
// path of the .deb file.
func (a *apt) download(ctx context.Context, dir, pkg, version string) (string, error) {
	if _, err := a.run(ctx, dir, "apt-get", "download", "-q", pkg+"="+version); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d files in %s", pkg, len(found), dir)
	}
	return found[0], nil
}

// unpack unpacks a package's files into folder dir.
func unpack(ctx context.Context, deb, dir string) error {
	out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("dpkg-deb -x %s: %w\n%s", filepath.Base(deb), errors.Join(ctx.Err(), err), tail(string(out), 5))
	}
	return nil
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
