package rack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
)

// CallTime bounds a call whose context has no deadline.
const CallTime = 30 * time.Second

// connectTime is for a host whose processors are all busy with guests.
const connectTime = 10 * time.Second

// Liveness of a connection with a call under way: when nothing came for pingTime, the
// global monitor is asked, and has pingWait to answer. So a stream ends when its
// host has lost power. Servers must allow it: see ServerOptions.
const (
	pingTime = 10 * time.Second // the least that gRPC lets a client have
	pingWait = 10 * time.Second
)

// ServerOptions are those that a global monitor's gRPC server needs for Dial.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingTime / 2})}
}

// Pause between attempts at the global monitors: an election takes seconds.
const (
	firstPause = 20 * time.Millisecond
	longPause  = 500 * time.Millisecond
)

// Dial returns a connection to the global monitors at addresses, HOST:PORT
// each. Calls go to one after the other until the leader answers: all but the
// leader say UNAVAILABLE. It does not wait for any of them.
func Dial(addresses []string) (*grpc.ClientConn, error) {
	var state resolver.State
	for _, list := range addresses {
		for a := range strings.SplitSeq(list, ",") {
			if a = strings.TrimSpace(a); a != "" {
				state.Addresses = append(state.Addresses, resolver.Address{Addr: a})
			}
		}
	}
	if len(state.Addresses) == 0 {
		return nil, errors.New("no global monitor: give its --global HOST:PORT, or set SPLITVM_GLOBAL")
	}
	r := manual.NewBuilderWithScheme("rack")
	r.InitialState(state)
	c, err := grpc.NewClient("rack:///global", grpc.WithResolvers(r),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectTime, Backoff: quickBackoff}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingTime, Timeout: pingWait}),
		grpc.WithUnaryInterceptor(untilAnswered))
	if err != nil {
		return nil, fmt.Errorf("global monitors %s: %w", strings.Join(addresses, ","), err)
	}
	return c, nil
}

// untilAnswered repeats a call until a global monitor that leads answers, or
// the time is over. All requests to global monitors may be repeated.
func untilAnswered(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, CallTime)
		defer cancel()
	}
	var last error
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if status.Code(err) != codes.Unavailable {
			if last != nil && ctx.Err() != nil {
				return fmt.Errorf("no answer in time: %w", last)
			}
			return err
		}
		last = err
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer in time: %w", last)
		case <-time.After(pause):
		}
	}
}
