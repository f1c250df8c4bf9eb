package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"splitvm/monitors/storage"
	"splitvm/remote/api"
)

// Every monitor's gRPC tells what it serves, so that grpcurl needs no *.proto file.
func TestReflection(t *testing.T) {
	r := startRack(t, 1)
	disks := serveMonitor(t, func(ctx context.Context, ready func(net.Addr)) error {
		return storage.Run(ctx, storage.Config{Listen: []string{"127.0.0.1:0"}, Data: t.TempDir(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Ready: func(data []net.Addr) { ready(data[0]) }})
	})
	for at, want := range map[string][]string{
		r.global:                           {"VNodes", "VRegions", "Volumes", "Members", "Events"},
		r.control(api.Role_ROLE_PROCESSOR): {"Processor"},
		disks:                              {"Storage"},
	} {
		got := servicesAt(t, at)
		for _, name := range want {
			if !slices.Contains(got, "splitvm.v1."+name) {
				t.Errorf("%s serves %q, want %s", at, got, name)
			}
		}
	}
}

// control is the address of the gRPC of a member of a role.
func (r *testRack) control(role api.Role) string {
	r.t.Helper()
	conn := plainConn(r.t, r.global)
	list, err := api.NewMembersClient(conn).ListMembers(r.t.Context(), &api.ListMembersRequest{Role: role})
	if err != nil || len(list.Members) == 0 {
		r.t.Fatalf("%v, %v", list, err)
	}
	return list.Members[0].Control
}

func plainConn(t *testing.T, at string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// servicesAt asks for the services, and for the description of each.
func servicesAt(t *testing.T, at string) (names []string) {
	t.Helper()
	stream, err := reflection.NewServerReflectionClient(plainConn(t, at)).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r *reflection.ServerReflectionRequest) *reflection.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	list := ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_ListServices{}})
	for _, s := range list.GetListServicesResponse().GetService() {
		names = append(names, s.Name)
		d := ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: s.Name}})
		if strings.HasPrefix(s.Name, "splitvm") && len(d.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("%s does not describe %s: %v", at, s.Name, d.GetErrorResponse())
		}
	}
	return names
}
