package main

import (
	"slices"
	"testing"

	"splitvm/monitors/processor"
	"splitvm/remote/api"
)

// A VMM of a rack gets what its vNode's specification says, in the form of `run`.
func TestVMMCommand(t *testing.T) {
	v := &api.VNode{Id: 3, Run: 2, Vip: "10.88.0.9", Spec: &api.VNodeSpec{Name: "web", MemoryBytes: 1 << 30, Vcpus: 2, VregionBytes: 1 << 24,
		Kernel: "/k", Disks: []string{"/d,ro"}, Env: []string{"A=b"}, Image: "alpine", Network: "front", Publish: []string{"80:80"}, RunFlags: []string{"--overlay"}, Command: []string{"echo", "--x"}}}
	got := vmmCommand(processor.Launch{VNode: v, Placer: "/p", Network: "/n", Status: "/s", ExCache: 1 << 23}).Args[1:]
	want := []string{"run", "--name", "web", "--placer", "/p", "--vnode", "3", "--run", "2", "--status-file", "/s", "--excache", "8388608",
		"--mem", "1073741824", "--cpus", "2", "--vregion", "16777216", "--kernel", "/k", "--disk", "/d,ro", "--env", "A=b", "--net", "user,network=front,addr=10.88.0.9,socket=/n", "--publish", "80:80", "--overlay", "alpine", "--", "echo", "--x"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBareProgram(t *testing.T) {
	p, err := parseBare("verify,accesses=10,writes=1,seed=7,in-order")
	if err != nil {
		t.Fatal(err)
	}
	s := p.spec(16<<20, 2)
	if a, b := s.Params[0], s.Params[1]; a.Accesses != 10 || a.Flags != 0 || a.Start+a.Count*4096 > b.Table || b.Start+b.Count*4096 > 16<<20 || a.Table+4*a.Count > a.Start {
		t.Errorf("%+v", s.Params)
	}
	for _, bad := range []string{"", "greet", "verify,x", "exit,status=256", "fill,accesses=-1", "touch,writes=a"} {
		if _, err := parseBare(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
