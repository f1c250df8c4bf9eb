package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestSplitImage(t *testing.T) {
	for _, c := range []struct {
		args, all []string
		image     string
		command   []string
		bad       bool
	}{
		{nil, []string{"splitvm", "run"}, "", []string{}, false},
		{[]string{"img"}, []string{"splitvm", "run", "img"}, "img", []string{}, false},
		{[]string{"img", "ls", "-l"}, []string{"splitvm", "run", "--mem", "1G", "img", "--", "ls", "-l"}, "img", []string{"ls", "-l"}, false},
		{[]string{"ls", "--", "x"}, []string{"splitvm", "run", "--", "ls", "--", "x"}, "", []string{"ls", "--", "x"}, false},
		{[]string{"img"}, []string{"splitvm", "run", "img", "--"}, "img", []string{}, false},
		{[]string{"img", "ls"}, []string{"splitvm", "run", "img", "ls"}, "", nil, true},
	} {
		image, command, err := splitImage(c.args, c.all)
		if image != c.image || !slices.Equal(command, c.command) || c.bad != (err != nil) {
			t.Errorf("%q: image %q, command %q, %v", c.all, image, command, err)
		}
	}
}

// What a container engine makes of an image's configuration and the user's words.
func TestTakeConfig(t *testing.T) {
	image := v1.Config{
		Entrypoint: []string{"/entry", "-x"}, Cmd: []string{"serve"}, Env: []string{"PATH=/img", "A=1"}, User: "web", WorkingDir: "/srv",
	}
	shell, none := "/bin/sh", ""
	for name, c := range map[string]struct {
		image v1.Config
		given options
		want  options
	}{
		"as it is": {image, options{}, options{command: []string{"/entry", "-x", "serve"}, env: image.Env, workdir: "/srv", user: "web"}},
		"arguments": {image, options{command: []string{"check"}},
			options{command: []string{"/entry", "-x", "check"}, env: image.Env, workdir: "/srv", user: "web"}},
		"entry point": {image, options{image: imageOptions{entrypoint: &shell}},
			options{command: []string{"/bin/sh"}, env: image.Env, workdir: "/srv", user: "web"}},
		"entry point and arguments": {image, options{image: imageOptions{entrypoint: &shell}, command: []string{"-c", "id"}},
			options{command: []string{"/bin/sh", "-c", "id"}, env: image.Env, workdir: "/srv", user: "web"}},
		"no entry point": {image, options{image: imageOptions{entrypoint: &none}, command: []string{"id"}},
			options{command: []string{"id"}, env: image.Env, workdir: "/srv", user: "web"}},
		"the user's words": {image, options{env: []string{"A=2", "B=3"}, workdir: "/tmp", user: "0:0"},
			options{command: []string{"/entry", "-x", "serve"}, env: []string{"PATH=/img", "A=2", "B=3"}, workdir: "/tmp", user: "0:0"}},
		"little": {v1.Config{Cmd: []string{"sh"}}, options{}, options{command: []string{"sh"}, workdir: "/"}},
	} {
		got := c.given
		if err := got.takeConfig(c.image); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got.image, c.want.image = imageOptions{}, imageOptions{}
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(options{}, rackOptions{}, imageOptions{}, remoteOptions{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	if err := new(options).takeConfig(v1.Config{}); err == nil {
		t.Error("an image without a command runs")
	}
}
