package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"splitvm/remote/api"
	"splitvm/remote/rack"
)

// globalFlag is the --global of commands that talk to a rack.
func globalFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "global", Sources: cli.EnvVars("SPLITVM_GLOBAL"),
		Usage: "the rack of the global monitor at `HOST:PORT`, commas separate several; auto, the default, is that of `splitvm rack up`"}
}

// dialRack connects to the rack that the command is for.
func dialRack(c *cli.Command) (*grpc.ClientConn, error) {
	at := globals(c)
	if len(at) == 0 || len(at) == 1 && at[0] == "auto" {
		at = nil
		if r, err := readRack(defaultRackDir()); err == nil {
			at = []string{r.Global}
		}
	}
	conn, err := rack.Dial(at)
	if err != nil {
		return nil, fmt.Errorf("%w; `splitvm rack up` starts a rack on this host", err)
	}
	return conn, nil
}

// onRack calls do with a connection to the rack.
func onRack(c *cli.Command, do func(conn *grpc.ClientConn) error) error {
	conn, err := dialRack(c)
	if err == nil {
		defer conn.Close()
		err = do(conn)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, plain(err))
	}
	return nil
}

// plain takes gRPC's wording off an error for people.
func plain(err error) error {
	if s, ok := status.FromError(err); ok && s.Message() != "" {
		return errors.New(s.Message())
	}
	return err
}

// onProcessor calls do with a connection to the processor monitor of a vNode.
func onProcessor(ctx context.Context, conn *grpc.ClientConn, v *api.VNode, do func(api.ProcessorClient) error) error {
	m, err := processorOf(ctx, conn, v)
	if err != nil {
		return err
	}
	p, err := grpc.NewClient(m.Control, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer p.Close()
	return do(api.NewProcessorClient(p))
}

// processorOf is the processor monitor of a vNode.
func processorOf(ctx context.Context, conn *grpc.ClientConn, v *api.VNode) (*api.Member, error) {
	if v.Processor == 0 {
		return nil, fmt.Errorf("vNode %s was never started", v.Spec.Name)
	}
	list, err := api.NewMembersClient(conn).ListMembers(ctx, &api.ListMembersRequest{Role: api.Role_ROLE_PROCESSOR})
	if err != nil {
		return nil, err
	}
	for _, m := range list.Members {
		if m.Id == v.Processor {
			return m, nil
		}
	}
	return nil, fmt.Errorf("processor monitor %d, where vNode %s ran, is not there", v.Processor, v.Spec.Name)
}

// message is a message that print shows by protobuf's rules of JSON.
type message struct{ proto.Message }

// MarshalJSON implements json.Marshaler.
func (m message) MarshalJSON() ([]byte, error) {
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Message)
}

var _ json.Marshaler = message{}

func messages[M proto.Message](list []M) []message {
	out := []message{} // an empty list is [] and not null
	for _, m := range list {
		out = append(out, message{m})
	}
	return out
}
