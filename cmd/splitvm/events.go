package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
)

func eventsCommand() *cli.Command {
	return &cli.Command{
		Name: "events", Usage: "show what happened in a rack",
		Description: `Joining and lost monitors, placements, and what became of vNodes and moves.

Examples:
   splitvm events
   splitvm events -f -o json`,
		Flags: []cli.Flag{globalFlag(), outputFlag(), &cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what happens from now on; with -o json one event a line"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			return onRack(c, func(conn *grpc.ClientConn) error {
				if c.Bool("follow") {
					return followEvents(ctx, c, conn)
				}
				var list []*api.Event
				err := eachEvent(ctx, conn, 0, false, func(e *api.Event) error { list = append(list, e); return nil })
				if err != nil {
					return err
				}
				t := table{head: []string{"TIME", "EVENT", "SUBJECT", "WHAT"}}
				for _, e := range list {
					t.rows = append(t.rows, eventRow(e))
				}
				return print(c, messages(list), t)
			})
		},
	}
}

func eventRow(e *api.Event) []string {
	return []string{time.UnixMilli(e.UnixMs).Format("15:04:05.000"), e.Kind, e.Subject, e.Text}
}

// eachEvent calls do with each event after seq. A global monitor that does not
// lead is left for the next.
func eachEvent(ctx context.Context, conn *grpc.ClientConn, seq uint64, follow bool, do func(*api.Event) error) error {
	for {
		stream, err := api.NewEventsClient(conn).WatchEvents(ctx, &api.WatchEventsRequest{After: seq, Follow: follow})
		for err == nil {
			var e *api.Event
			if e, err = stream.Recv(); err == nil {
				seq = e.Seq
				err = do(e)
			}
		}
		switch {
		case errors.Is(err, io.EOF) || ctx.Err() != nil:
			return nil
		case status.Code(err) != codes.Unavailable:
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func followEvents(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error {
	w := c.Root().Writer
	return eachEvent(ctx, conn, 0, true, func(e *api.Event) error {
		if c.String("output") == "json" {
			return json.NewEncoder(w).Encode(message{e})
		}
		r := eventRow(e)
		_, err := fmt.Fprintf(w, "%s  %-15s  %-15s  %s\n", r[0], r[1], r[2], r[3])
		return err
	})
}
