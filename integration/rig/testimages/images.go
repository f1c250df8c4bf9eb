package testimages

import (
	"archive/tar"
	"context"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// applets are the names that busybox has in the images.
var applets = []string{"cat", "chmod", "echo", "env", "grep", "head", "hostname", "id", "ls", "mount", "pwd", "sh", "sleep", "sort", "stat", "sync", "touch", "tr", "true", "uname", "wc"}

func appletLinks() (files []file) {
	for _, name := range applets {
		files = append(files, file{name: "bin/" + name, kind: tar.TypeSymlink, data: "busybox"})
	}
	return files
}

func dir(name string) file { return file{name: name + "/", kind: tar.TypeDir, mode: 0o755} }

// busybox is one static program, and nothing of what a guest mounts things on.
func busybox(program string) (v1.Image, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	base, err := layerOf(dir("bin"), file{name: "bin/busybox", mode: 0o755, data: string(data)}, file{name: "bin/gone", data: "to be hidden"})
	if err != nil {
		return nil, err
	}
	upper, err := layerOf(append(appletLinks(), file{name: "bin/.wh.gone"}, dir("etc"),
		file{name: "etc/passwd", mode: 0o644, data: "root:x:0:0::/:/bin/sh\n"}, file{name: "etc/group", mode: 0o644, data: "root:x:0:\n"})...)
	if err != nil {
		return nil, err
	}
	return imageOf(v1.Config{Cmd: []string{"sh", "-c", "echo busybox; ls /bin/gone; id -u; pwd; exit 3"}}, base, upper)
}

// entryScript is the entry point of the image like Alpine's: it says who and where it
// is and with what, and runs its arguments.
const entryScript = `#!/bin/sh
echo "user $(id -un) $(id -u):$(id -g) groups $(id -G)"
echo "in $(pwd) with COLOR=$COLOR HOME=$HOME"
exec "$@"
`

// alpine is dynamic programs, a user with groups, an entry point, and a working
// directory that no layer has.
func alpine(ctx context.Context, packages string) (v1.Image, error) {
	base, err := debianLayer(ctx, packages)
	if err != nil {
		return nil, err
	}
	tools, err := layerOf(append(appletLinks(), file{name: "usr/share/.wh.doc"}, dir("etc"),
		file{name: "etc/passwd", mode: 0o644, data: "root:x:0:0::/root:/bin/sh\napp:x:1234:1235::/home/app:/bin/sh\n"},
		file{name: "etc/group", mode: 0o644, data: "root:x:0:\napp:x:1235:\nextra:x:1300:app\n"},
		file{name: "entry.sh", mode: 0o755, data: entryScript}, file{name: "home/", kind: tar.TypeDir, mode: 0o755},
		file{name: "home/app/", kind: tar.TypeDir, mode: 0o700, uid: 1234, gid: 1235},
		file{name: "home/app/mine", mode: 0o600, uid: 1234, gid: 1235, data: "for app only\n"})...)
	if err != nil {
		return nil, err
	}
	links, err := layerOf(file{name: "bin/again", kind: tar.TypeLink, data: "bin/busybox"}) // of a lower layer
	if err != nil {
		return nil, err
	}
	return imageOf(v1.Config{
		Entrypoint: []string{"/entry.sh"}, Cmd: []string{"echo", "the", "default"}, Env: []string{"PATH=/bin:/usr/bin", "COLOR=green"},
		User: "app", WorkingDir: "/srv/app",
	}, base, tools, links)
}

// debian is every essential package, without what they document.
func debian(ctx context.Context, packages string) (v1.Image, error) {
	base, err := debianLayer(ctx, packages)
	if err != nil {
		return nil, err
	}
	upper, err := layerOf(
		file{name: "usr/share/doc/.wh..wh..opq"}, file{name: "usr/share/.wh.man"}, file{name: "usr/share/.wh.locale"},
		file{name: "usr/share/doc/README", mode: 0o644, data: "nothing is documented here\n"},
		file{name: "bin/sh", kind: tar.TypeSymlink, data: "dash"},
		file{name: "etc/passwd", mode: 0o644, data: "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
		file{name: "etc/group", mode: 0o644, data: "root:x:0:\nnogroup:x:65534:\n"})
	if err != nil {
		return nil, err
	}
	return imageOf(v1.Config{Cmd: []string{"bash", "-c", "cat /etc/debian_version"}, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}, base, upper)
}
